import {memoryError} from '../errors';

/** Marks a module that is guarded, shared by all copies of the library in a process. */
const GUARDED = Symbol.for('tfjs-lora.guardedHeap');

/** The private parts of tfjs's compiled wasm module that are used here. */
interface Module {
  [GUARDED]?: true;
  /** The address of this many bytes; 0 if there is no room for them. */
  _malloc: (bytes: number) => number;
  HEAPU8: Uint8Array;
}

/**
 * Makes the wasm backend throw a `LoRAError` if its memory is full: it grows to 4 GiB. tfjs would use the address 0, or
 * one that ends beyond the memory, and overwrite other tensors.
 */
export function guardHeap(backend: object): void {
  const {wasm} = backend as {wasm?: Partial<Module>};
  if (wasm?._malloc === undefined || GUARDED in wasm) {
    return;
  }
  const module = wasm as Module;
  module[GUARDED] = true;
  let allocate = module._malloc;
  const guarded = (bytes: number): number => {
    const place = allocate(bytes);
    if (module._malloc !== guarded) {
      // At its first call the function replaces itself.
      allocate = module._malloc;
      module._malloc = guarded;
    }
    // Threads may have let a shared memory grow, so that this view of it ends too soon.
    const {length, buffer} = module.HEAPU8;
    const isBeyond = buffer instanceof ArrayBuffer && (place >>> 0) + bytes > length;
    if ((place === 0 && bytes > 0) || isBeyond) {
      throw memoryError(
        `The memory of the wasm backend, 4 GiB at most, has no room for ${Math.ceil(bytes / 2 ** 20)} MiB more. ` +
          'Take a smaller batch, recompute activations with {gradientCheckpointing}, or dispose of what you no ' +
          'longer need.',
      );
    }
    return place;
  };
  module._malloc = guarded;
}
