import type {Capabilities} from '../capabilities';
import {pointwiseOperations, pointwiseSteps, runEachBy} from '../pointwise';
import type {Programs} from '../tryOut';
import {isRight, runOnWebgl} from './program';

const steps = pointwiseSteps(runEachBy(runOnWebgl));

const capabilities: Capabilities = {
  source: 'programs',
  oneLaunch: pointwiseOperations(runOnWebgl),
  optimizerSteps: () => steps,
};

export const webglPrograms: Programs = {isRight, capabilities};
