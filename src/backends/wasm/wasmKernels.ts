import {batchNormKernel} from '../shared/batchNorm';
import {layered, type OwnKernel} from '../shared/registration';
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
