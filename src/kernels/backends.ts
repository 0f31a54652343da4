import {batchNormKernel} from './batchNorm';
import {conv3dTransposeGradient} from './conv3dTranspose';
import {depthToSpaceGradient} from './depthToSpace';
import {onBackend} from './lifecycle';
import {matrixProductGradient, tensorflowKernels} from './node/tensorflow';
import {supplyOneLaunch} from './oneLaunch';
import {pointwise} from './pointwise';
import {pointwiseAffine, pointwiseGradient} from './pointwiseOps';
import {type OwnKernel, registerGradients, registerKernels} from './registration';
import {resizeGradients} from './resizing';
import {wasmKernels} from './wasm/wasm';
import {tryWebgl} from './webgl/program';
import {addProduct} from './webgpu/addProduct';
import {tryWebgpu} from './webgpu/program';

/** What is done for a backend when it is set. */
interface Backend {
  /** Kernels that correct what it gets wrong, add what it lacks, and speed up what is slow in the backward pass. */
  readonly kernels?: readonly OwnKernel[];
  /** Has programs of our own tried out on it. */
  readonly tryOut?: (backend: never) => void;
}

/** A row for each backend. tf.loadLayersModel and stock layers profit too. */
const BACKENDS: Readonly<Record<string, Backend>> = {
  cpu: {kernels: [batchNormKernel, ...resizeGradients]},
  tensorflow: {kernels: tensorflowKernels},
  wasm: {kernels: wasmKernels},
  webgl: {tryOut: tryWebgl},
  webgpu: {tryOut: tryWebgpu},
};

supplyOneLaunch({
  addProduct,
  affine: pointwiseAffine,
  activationGradient: pointwiseGradient,
  isHere: () => pointwise() !== undefined,
});
registerGradients([conv3dTransposeGradient, depthToSpaceGradient, matrixProductGradient]);
onBackend((name, backend) => {
  const {kernels = [], tryOut} = (Object.hasOwn(BACKENDS, name) && BACKENDS[name]) || {};
  registerKernels(name, kernels);
  tryOut?.(backend as never);
});
