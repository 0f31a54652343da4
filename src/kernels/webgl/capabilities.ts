import type {Capabilities} from '../capabilities';
import {pointwiseOperations} from '../pointwise';
import {pointwiseSteps} from '../pointwiseSteps';
import {runOnWebgl, runsOnWebgl} from './program';

const CAPABILITIES: Capabilities = {
  source: 'programs',
  oneLaunch: pointwiseOperations(runOnWebgl),
  optimizerSteps: () => STEPS,
};
const STEPS = pointwiseSteps(runOnWebgl);

/** What webgl can do once our programs have been tried out. */
export function webglCapabilities(): Capabilities | undefined {
  return runsOnWebgl() ? CAPABILITIES : undefined;
}
