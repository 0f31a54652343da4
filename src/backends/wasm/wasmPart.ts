import {guardHeap} from '../../platform/tfjs/guardHeap';
import {partIsThere} from '../shared/backendParts';
import {onBackend} from '../shared/lifecycle';
import {supplyBackend} from '../shared/supplyBackend';
import {wasmCapabilities} from './capabilities';
import {wasmKernels} from './wasmKernels';

/** Registers all that is here for wasm. A page loads it when it sets the backend, and Node with the library. */
export function supplyWasm(): void {
  onBackend((_name, backend) => guardHeap(backend));
  supplyBackend('wasm', {kernels: wasmKernels, capabilities: wasmCapabilities});
  partIsThere('wasm');
}
