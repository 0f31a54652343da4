import {guardGraphicsCard, guardHeap} from '../tfjs/guards';
import {conv3dTransposeGradient, depthToSpaceGradient} from './addedGradients';
import {type Capabilities, supplyCapabilities} from './capabilities';
import {cpuKernels} from './cpuKernels';
import {onBackend} from './lifecycle';
import {hostSteps} from './node/hostSteps';
import {matrixProductGradient, tensorflowCapabilities, tensorflowKernels} from './node/tensorflow';
import {type OwnKernel, registerGradients, registerKernels} from './registration';
import {wasmCapabilities} from './wasm/capabilities';
import {wasmKernels} from './wasm/wasmKernels';
import {webglCapabilities} from './webgl/capabilities';
import {tryWebgl} from './webgl/program';
import {webgpuCapabilities} from './webgpu/capabilities';
import {tryWebgpu} from './webgpu/program';

/** What is known of a backend. */
interface Backend {
  /** Kernels that correct what it gets wrong, add what it lacks, and speed up what is slow in the backward pass. */
  readonly kernels?: readonly OwnKernel[];
  /** Has programs of our own tried out on it, when it is set. */
  readonly tryOut?: (backend: never) => void;
  /** What it can do beside tfjs's operations. */
  readonly capabilities: () => Capabilities | undefined;
}

/** A row for each backend. tf.loadLayersModel and stock layers profit from the kernels too. */
const BACKENDS: ReadonlyMap<string, Backend> = new Map<string, Backend>([
  [
    'cpu',
    {
      kernels: cpuKernels,
      capabilities: () => ({optimizerSteps: () => hostSteps}),
    },
  ],
  ['tensorflow', {kernels: tensorflowKernels, capabilities: () => tensorflowCapabilities}],
  ['wasm', {kernels: wasmKernels, capabilities: wasmCapabilities}],
  ['webgl', {tryOut: tryWebgl, capabilities: webglCapabilities}],
  ['webgpu', {tryOut: tryWebgpu, capabilities: webgpuCapabilities}],
]);

registerGradients([conv3dTransposeGradient, depthToSpaceGradient, matrixProductGradient]);
for (const [name, {capabilities}] of BACKENDS) {
  supplyCapabilities(name, capabilities);
}
onBackend((name, backend) => {
  guardGraphicsCard(backend);
  guardHeap(backend);
  const {kernels = [], tryOut} = BACKENDS.get(name) ?? {};
  registerKernels(name, kernels);
  tryOut?.(backend as never);
});
