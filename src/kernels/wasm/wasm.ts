import * as tf from '@tensorflow/tfjs';
import {batchNormKernel} from '../batchNorm';
import {ensureRegistered, layered, type OwnKernel} from '../registration';
import {arrangeKernels} from './composed/arrange';
import {broadcastKernels} from './composed/broadcast';
import {convolutionKernels} from './composed/convolution';
import {convolution3dKernels} from './composed/convolution3d';
import {copyKernels} from './composed/copy';
import {identityKernel} from './composed/identity';
import {matMulKernels} from './composed/matMul';
import {channelKernels} from './module/channels';
import {currentNative} from './module/find';
import {nativeKernels} from './module/kernels';
import {poolKernels} from './composed/pool';
import {sumKernels} from './composed/sum';
import {transposeKernel} from './composed/transpose';

export {AFFINE} from './module/channels';

/** Kernels made of tfjs's own operations, and those that fall back on such by themselves. */
const COMPOSED: readonly OwnKernel[] = [
  ...matMulKernels,
  ...convolutionKernels,
  ...convolution3dKernels,
  ...copyKernels,
  ...arrangeKernels,
  ...broadcastKernels,
  ...poolKernels,
  ...sumKernels,
  transposeKernel,
  batchNormKernel,
  identityKernel,
  ...channelKernels,
];

/** All our kernels. Those of our wasm module wrap the composed ones. */
const KERNELS = layered(COMPOSED, nativeKernels);

/** A kernel of the backend's own that is wrapped: it tells whether the backend was loaded, or loaded again. */
const WITNESS = tf.Conv2D;

/**
 * Registers what the wasm backend lacks for training, corrects what it gets wrong, and speeds up what is slow in the backward pass.
 *
 * It does nothing where the wasm backend is not loaded, and next to nothing where all is in place. It is meant to be called often:
 * loading the backend after this library puts all of the backend's own kernels back.
 */
export function ensureWasmKernels(): void {
  ensureRegistered('wasm', WITNESS, KERNELS);
}

/**
 * Whether it pays on the current backend to keep the adjoint of a frozen kernel: XNNPACK then keeps it packed, and the gradient in a
 * convolution's input is as fast as a convolution. Other backends, and our wasm module, have input gradients that need no other kernel.
 */
export function keepsAdjoints(): boolean {
  return tf.getBackend() === 'wasm' && currentNative() === undefined;
}
