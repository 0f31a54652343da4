import {unsupportedError} from '../platform/errors';

/** Options of `startWasm`. */
export interface WasmOptions {
  /** How many threads compute, from 1 to 8. Defaults to the number of available cores, but at most 8. */
  threads?: number;
}

/** What {@link startWasm} started. */
export interface WasmStart {
  /** How many threads compute. */
  readonly threads: number;
  /** Why there are fewer threads than requested. Missing if there are as many. */
  readonly reason?: string;
}

type StartWasm = (options?: WasmOptions) => Promise<WasmStart>;

let starter: StartWasm | undefined;

/** Supplies what starts the threads, which the entry point `node` has. */
export function supplyWasmStart(start: StartWasm): void {
  starter = start;
}

/**
 * Starts the wasm backend with threads in Node and makes it the current backend.
 *
 * tfjs uses one thread in Node. With this function, the library's kernels use several: those that training spends its
 * time in, and the products of quantized weights. tfjs's own kernels stay on one thread. Results are the same bits for
 * any number of threads. The threads do not keep the process alive, and they sleep while nothing is computed. If other
 * processes use the cores, fewer threads are used.
 *
 * @param options `threads`: how many threads compute, the calling one included.
 * @returns how many threads compute, and the reason if there are fewer than requested: for example a version of
 *   `@tensorflow/tfjs-backend-wasm` without a threaded build. Training works with one thread too.
 * @throws LoRAError `ERR_OPTION` if `threads` is not a whole number from 1 to 8; `ERR_BUSY` if the wasm backend already
 *   runs with another number of threads and holds tensors: call this function first; `ERR_UNSUPPORTED` if
 *   `@tensorflow/tfjs-backend-wasm` is not installed or its backend does not start, and everywhere but in Node: a page
 *   sets the backend with tfjs alone.
 * @example
 *     const {threads, reason} = await startWasm();
 *     console.log('threads:', threads, reason ?? '');
 */
export async function startWasm(options: WasmOptions = {}): Promise<WasmStart> {
  if (starter === undefined) {
    throw unsupportedError(
      "startWasm starts threads in Node. On a page, import '@tensorflow/tfjs-backend-wasm' and call " +
        "await tf.setBackend('wasm').",
    );
  }
  return starter(options);
}
