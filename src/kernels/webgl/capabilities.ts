import type {Capabilities} from '../capabilities';
import {pointwiseOperations, pointwiseSteps, runEachBy} from '../pointwise';
import {runOnWebgl, runsOnWebgl} from './program';

const CAPABILITIES: Capabilities = {
  source: 'programs',
  oneLaunch: pointwiseOperations(runOnWebgl),
  optimizerSteps: () => STEPS,
};
const STEPS = pointwiseSteps(runEachBy(runOnWebgl));

/** What webgl can do once our programs have been tried out. */
export function webglCapabilities(): Capabilities | undefined {
  return runsOnWebgl() ? CAPABILITIES : undefined;
}
