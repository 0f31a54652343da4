import {beforeBackendsStart} from './arrival';
import {batchNormKernel} from './batchNorm';
import {ensureConv3dTransposeGradient} from './conv3dTranspose';
import {ensureDepthToSpaceGradient} from './depthToSpace';
import {ensureRegistered} from './registration';
import {ensureTensorFlowKernels} from './tensorflow';
import {ensureWasmKernels} from './wasm';

/**
 * Mends what the backends that are loaded get wrong, and supplies what they lack for training. Cheap, and meant to be called often: a
 * backend that is loaded later, or again, brings its own kernels back.
 */
export function ensureKernels(): void {
  ensureWasmKernels();
  ensureConv3dTransposeGradient();
  ensureDepthToSpaceGradient();
  ensureTensorFlowKernels();
  ensureRegistered('cpu', batchNormKernel.name, [batchNormKernel]);
}

// tf.loadLayersModel and stock layers profit too: it is all there from the start where the backend is, and where it comes later.
ensureKernels();
beforeBackendsStart(ensureKernels);
