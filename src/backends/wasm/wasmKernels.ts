import type * as tf from '@tensorflow/tfjs';
import {batchNormKernel} from '../shared/batchNorm';
import type {OwnKernel} from '../shared/registration';
import {arrangeKernels} from './composed/arrange';
import {broadcastKernels} from './composed/broadcast';
import {castKernel, clampKernels, selectKernel} from './composed/pointwise';
import {convolutionKernels} from './composed/convolution';
import {convolution3dKernels} from './composed/convolution3d';
import {copyKernels} from './composed/copy';
import {indexKernels} from './composed/indices';
import {matMulKernels} from './composed/matMul';
import {maxPoolWithArgmax} from './composed/maxPoolWithArgmax';
import {addProductKernel} from './module/addProduct';
import {channelKernels} from './module/channels';
import {nativeKernels} from './module/kernels';
import {poolKernels} from './composed/pool';
import {sumKernels} from './composed/sum';
import {transposeKernel} from './composed/transpose';

/** Kernels made of tfjs's own operations, and those that fall back on such by themselves. */
const COMPOSED: readonly OwnKernel[] = [
  ...matMulKernels,
  ...convolutionKernels,
  ...convolution3dKernels,
  ...copyKernels,
  ...arrangeKernels,
  ...broadcastKernels,
  castKernel,
  ...clampKernels,
  ...indexKernels,
  ...poolKernels,
  maxPoolWithArgmax,
  selectKernel,
  ...sumKernels,
  transposeKernel,
  batchNormKernel,
  ...channelKernels,
  addProductKernel,
];

/** All our kernels. Those of our wasm module wrap the composed ones. */
export const wasmKernels = layered(COMPOSED, nativeKernels);

/** A kernel that wraps another of the same name; the backend's own where there is no other. */
function layered(kernels: readonly OwnKernel[], above: readonly OwnKernel[]): OwnKernel[] {
  const names = new Set(kernels.map(({name}) => name));
  const over = kernels.map(kernel => {
    const upper = above.find(({name}) => name === kernel.name);
    return upper === undefined
      ? kernel
      : {name: kernel.name, configure: (stock?: tf.KernelConfig) => upper.configure(kernel.configure(stock))};
  });
  return [...over, ...above.filter(({name}) => !names.has(name))];
}
