import {guardGraphicsCard, guardHeap} from '../tfjs/guards';
import {conv3dTransposeGradient, depthToSpaceGradient} from './addedGradients';
import {type Capabilities, supplyCapabilities} from './capabilities';
import {cpuKernels} from './cpuKernels';
import {onBackend} from './lifecycle';
import {hostSteps} from './hostSteps';
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

/** Supplies what is known of a backend. `tf.loadLayersModel` and stock layers profit from the kernels too. */
export function supplyBackend(name: string, {kernels = [], tryOut, capabilities}: Backend): void {
  supplyCapabilities(name, capabilities);
  onBackend((current, backend) => {
    if (current === name) {
      registerKernels(name, kernels);
      tryOut?.(backend as never);
    }
  });
}

registerGradients([conv3dTransposeGradient, depthToSpaceGradient]);
onBackend((_name, backend) => {
  guardGraphicsCard(backend);
  guardHeap(backend);
});
// The backends of a page; what Node alone has comes by the door `node.ts`.
supplyBackend('cpu', {kernels: cpuKernels, capabilities: () => ({optimizerSteps: () => hostSteps})});
supplyBackend('wasm', {kernels: wasmKernels, capabilities: wasmCapabilities});
supplyBackend('webgl', {tryOut: tryWebgl, capabilities: webglCapabilities});
supplyBackend('webgpu', {tryOut: tryWebgpu, capabilities: webgpuCapabilities});
