import {runEachJoined} from '../shared/joinedSteps';
import {pointwiseOperations, pointwiseSteps} from '../shared/pointwise';
import {triedPrograms} from '../shared/programTrials';
import {adaptedProduct} from './adaptedProduct';
import {fusedConvolution} from './fusedConvolution';
import {softmax, softmaxGradient} from './epilogue';
import {arePointwiseRight, runOnWebgl} from './program';
import {sheets} from './sheet';

const steps = pointwiseSteps(runEachJoined(runOnWebgl, sheets));

export const webglPrograms = triedPrograms(arePointwiseRight, {
  source: 'programs',
  oneLaunch: {...pointwiseOperations(runOnWebgl), softmax, softmaxGradient},
  adaptedProduct,
  fusedConvolution,
  optimizerSteps: () => steps,
});
