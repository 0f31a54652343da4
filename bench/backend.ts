import * as tf from '@tensorflow/tfjs';

/** The backends that the benchmark can run on. */
export const BACKENDS = ['wasm', 'cpu', 'tensorflow'] as const;
export type Backend = (typeof BACKENDS)[number];

export function isBackend(name: string): name is Backend {
  return (BACKENDS as readonly string[]).includes(name);
}

/** Loads a backend and makes it the current one. On wasm the library's kernels use some threads. */
export async function useBackend(backend: Backend, threads = 1): Promise<void> {
  tf.enableProdMode();
  if (backend === 'wasm' && threads > 1) {
    // Loaded here only: the stock process must not load the library.
    const {startWasm} = await import('tfjs-lora/node');
    const start = await startWasm({threads});
    if (start.threads !== threads) {
      throw new Error(start.reason);
    }
  } else if (backend === 'wasm') {
    await import('@tensorflow/tfjs-backend-wasm');
  } else if (backend === 'tensorflow') {
    // Not a dependency of this repository: its install scripts fetch binaries. A variable, lest the compiler looks for
    // it.
    const tfjsNode = '@tensorflow/tfjs-node';
    await import(tfjsNode);
  }
  if (!(await tf.setBackend(backend))) {
    throw new Error(`The backend "${backend}" does not start.`);
  }
}
