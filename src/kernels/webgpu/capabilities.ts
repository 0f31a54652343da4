import type {Capabilities} from '../capabilities';
import {pointwiseOperations} from '../pointwise';
import {pointwiseSteps} from '../pointwiseSteps';
import {addProduct} from './addProduct';
import {runPointwise} from './pointwise';
import {runsPrograms} from './program';

const CAPABILITIES: Capabilities = {
  source: 'programs',
  oneLaunch: {...pointwiseOperations(runPointwise), addProduct},
  optimizerSteps: () => STEPS,
};
const STEPS = pointwiseSteps(runPointwise);

/** What webgpu can do once our programs have been tried out. */
export function webgpuCapabilities(): Capabilities | undefined {
  return runsPrograms() ? CAPABILITIES : undefined;
}
