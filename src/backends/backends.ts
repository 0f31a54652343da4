import {guardGraphicsCard, guardHeap} from '../platform/tfjs/guards';
import {conv3dTransposeGradient, depthToSpaceGradient} from './shared/addedGradients';
import {type Capabilities, supplyCapabilities} from './shared/capabilities';
import {cpuKernels} from './cpuKernels';
import {onBackend} from './shared/lifecycle';
import {hostSteps} from './shared/hostSteps';
import {type OwnKernel, registerGradients, registerKernels} from './shared/registration';
import {type Programs, runsOn, tryOut} from './shared/tryOut';
import {wasmCapabilities} from './wasm/capabilities';
import {wasmKernels} from './wasm/wasmKernels';

/** How to set up a backend. */
interface Backend {
  /** Kernels that correct what it gets wrong, add what it lacks, and speed up what is slow in the backward pass. */
  readonly kernels?: readonly OwnKernel[];
  /** Its capabilities besides tfjs's operations. */
  readonly capabilities: () => Capabilities | undefined;
}

/** Supplies what is known of a backend. `tf.loadLayersModel` and stock layers profit from the kernels too. */
export function supplyBackend(name: string, {kernels = [], capabilities}: Backend): void {
  supplyCapabilities(name, capabilities);
  onBackend(current => {
    if (current === name) {
      registerKernels(name, kernels);
    }
  });
}

/**
 * Supplies programs of our own on a graphics card. They are loaded when it is set, so that a page without it need not
 * load them, and are tried out; until then, and where that fails, it is as stock.
 */
function supplyPrograms(name: string, stock: Capabilities, load: () => Promise<Programs>): void {
  let programs: Programs | undefined;
  let set: object | undefined;
  supplyCapabilities(name, () => (set !== undefined && runsOn(set) ? programs?.capabilities : stock));
  onBackend((current, backend) => {
    if (current === name) {
      set = backend;
      tryOut(backend, async () => {
        programs = await load();
        return programs.isRight(backend as never, onBackend);
      });
    }
  });
}

registerGradients([conv3dTransposeGradient, depthToSpaceGradient]);
onBackend((_name, backend) => {
  guardGraphicsCard(backend);
  guardHeap(backend);
});
// The backends of a page. The entry point `node` adds the one that only Node has.
supplyBackend('cpu', {kernels: cpuKernels, capabilities: () => ({isOnHost: true, optimizerSteps: () => hostSteps})});
supplyBackend('wasm', {kernels: wasmKernels, capabilities: wasmCapabilities});
supplyPrograms('webgl', {}, async () => (await import('./webgl/capabilities')).webglPrograms);
supplyPrograms('webgpu', {readsByPromise: true}, async () => (await import('./webgpu/capabilities')).webgpuPrograms);
