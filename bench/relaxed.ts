import {setFlagsFromString} from 'node:v8';
import {useRelaxedSIMD} from 'tfjs-lora';

/**
 * Makes training on wasm, the current backend, multiply and add in one instruction of relaxed SIMD. Node 20 has it
 * behind a flag.
 */
export function useRelaxed(): void {
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  if (!useRelaxedSIMD()) {
    throw new Error('There is no relaxed SIMD here.');
  }
}
