import {LoRAError} from '../errors';

/** Marks a module that is guarded, shared by all copies of the library in a process. */
const BRAND = Symbol.for('tfjs-lora.guardedHeap');

/** What is used of the compiled module of tfjs's wasm backend. It is private in tfjs. */
interface Module {
  [BRAND]?: true;
  /** The place of so many bytes; 0 where there is no room for them. */
  _malloc: (bytes: number) => number;
}

/**
 * Lets the wasm backend refuse, with a `LoRAError`, what its memory has no room for: it grows to 4 GiB. tfjs takes the
 * place 0 that it is given then, and overwrites other tensors.
 */
export function guardHeap(backend: object): void {
  const {wasm} = backend as {wasm?: Partial<Module>};
  if (wasm?._malloc === undefined || BRAND in wasm) {
    return;
  }
  const module = wasm as Module;
  module[BRAND] = true;
  let allocate = module._malloc;
  const guarded = (bytes: number): number => {
    const place = allocate(bytes);
    if (module._malloc !== guarded) {
      // At its first call the function puts another in its own place.
      allocate = module._malloc;
      module._malloc = guarded;
    }
    if (place === 0 && bytes > 0) {
      throw new LoRAError(
        `The memory of the wasm backend, 4 GiB at most, has no room for ${Math.ceil(bytes / 2 ** 20)} MiB more. ` +
          'Take a smaller batch, recompute activations with {checkpoint}, or dispose tensors and models that are no ' +
          'longer needed.',
      );
    }
    return place;
  };
  module._malloc = guarded;
}
