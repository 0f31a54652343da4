import {runEachJoined} from '../joinedSteps';
import {pointwiseOperations, pointwiseSteps} from '../pointwise';
import {triedPrograms} from '../programTrials';
import {adaptedProduct} from './adaptedProduct';
import {fusedConvolution} from './fusedConvolution';
import {softmax, softmaxGradient} from './outlet';
import {isRight, runOnWebgl} from './program';
import {sheets} from './sheet';

const steps = pointwiseSteps(runEachJoined(runOnWebgl, sheets));

export const webglPrograms = triedPrograms(isRight, {
  source: 'programs',
  oneLaunch: {...pointwiseOperations(runOnWebgl), softmax, softmaxGradient},
  adaptedProduct,
  fusedConvolution,
  optimizerSteps: () => steps,
});
