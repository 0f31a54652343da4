import {beforeBackendsStart} from './lifecycle';
import {batchNormKernel} from './batchNorm';
import {ensureConv3dTransposeGradient} from './conv3dTranspose';
import {ensureDepthToSpaceGradient} from './depthToSpace';
import {addRepair, ensureKernels} from './ensure';
import {supplyOneLaunch} from './oneLaunch';
import {pointwise} from './pointwise';
import {pointwiseAffine, pointwiseGradient} from './pointwiseOps';
import {ensureRegistered} from './registration';
import {resizeGradients} from './resizing';
import {ensureTensorFlowKernels} from './node/tensorflow';
import {ensureWasmKernels} from './wasm/wasm';
import {tryWebgl} from './webgl/program';
import {addProduct} from './webgpu/addProduct';
import {tryWebgpu} from './webgpu/program';

// Layers only call `ensureKernels`, so that they can be read without the repairs. tf.loadLayersModel and stock layers profit too.
addRepair(ensureWasmKernels);
addRepair(ensureConv3dTransposeGradient);
addRepair(ensureDepthToSpaceGradient);
addRepair(ensureTensorFlowKernels);
addRepair(tryWebgpu);
addRepair(tryWebgl);
supplyOneLaunch({
  addProduct,
  affine: pointwiseAffine,
  activationGradient: pointwiseGradient,
  isHere: () => pointwise() !== undefined,
});
addRepair(() => {
  ensureRegistered('cpu', batchNormKernel.name, [batchNormKernel, ...resizeGradients]);
});
beforeBackendsStart(ensureKernels); // a backend may come later
