import * as tf from '@tensorflow/tfjs';
import {batchNormKernel} from '../batchNorm';
import {layered, type OwnKernel} from '../registration';
import {arrangeKernels} from './composed/arrange';
import {broadcastKernels} from './composed/broadcast';
import {clampKernels} from './composed/clamp';
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
  ...clampKernels,
  ...poolKernels,
  ...sumKernels,
  transposeKernel,
  batchNormKernel,
  identityKernel,
  ...channelKernels,
];

/** All our kernels. Those of our wasm module wrap the composed ones. */
export const wasmKernels = layered(COMPOSED, nativeKernels);

/**
 * Whether it pays on the current backend to keep the adjoint of a frozen kernel: XNNPACK then keeps it packed, and the gradient in a
 * convolution's input is as fast as a convolution. Other backends, and our wasm module, have input gradients that need no other kernel.
 */
export function keepsAdjoints(): boolean {
  return tf.getBackend() === 'wasm' && currentNative() === undefined;
}
