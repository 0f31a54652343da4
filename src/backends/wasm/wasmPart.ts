import {partIsThere} from '../shared/backendParts';
import {supplyBackend} from '../shared/supplyBackend';
import {wasmCapabilities} from './capabilities';
import {wasmKernels} from './wasmKernels';

/** Registers all that is here for wasm. A page loads it when it sets the backend, and Node with the library. */
export function supplyWasm(): void {
  supplyBackend('wasm', {kernels: wasmKernels, capabilities: wasmCapabilities});
  partIsThere('wasm');
}
