import type {Capabilities} from '../capabilities';
import {runEachJoined} from '../joinedSteps';
import {pointwiseOperations, pointwiseSteps} from '../pointwise';
import {isConvolutionRight, isProductRight} from '../programTrials';
import {whenCurrent, type Programs} from '../tryOut';
import {adaptedProduct} from './adaptedProduct';
import {fusedConvolution} from './fusedConvolution';
import {softmax, softmaxGradient} from './outlet';
import {isRight, runOnWebgl} from './program';
import {sheets} from './sheet';

const steps = pointwiseSteps(runEachJoined(runOnWebgl, sheets));

const capabilities: Capabilities = {
  source: 'programs',
  oneLaunch: {...pointwiseOperations(runOnWebgl), softmax, softmaxGradient},
  adaptedProduct,
  fusedConvolution,
  optimizerSteps: () => steps,
};

export const webglPrograms: Programs = {
  isRight: async (backend, onBackend) => {
    await whenCurrent(backend, onBackend);
    const trials = [isRight(backend), isProductRight(adaptedProduct), isConvolutionRight(fusedConvolution)];
    return (await Promise.all(trials)).every(right => right);
  },
  capabilities,
};
