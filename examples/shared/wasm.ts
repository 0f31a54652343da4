import * as tf from '@tensorflow/tfjs';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';

/** Tells tfjs's wasm backend where the bundler has put its binaries. */
export function locateWasm(): void {
  setWasmPaths({
    'tfjs-backend-wasm.wasm': plain,
    'tfjs-backend-wasm-simd.wasm': simd,
    'tfjs-backend-wasm-threaded-simd.wasm': threaded,
  });
}

/** Makes the wasm backend current. @throws Error for the visitor if the browser cannot. */
export async function startWasm(): Promise<void> {
  tf.enableProdMode();
  locateWasm();
  if (!(await tf.setBackend('wasm'))) {
    throw new Error('This browser could not start the wasm backend.');
  }
}
