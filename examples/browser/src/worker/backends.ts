import * as tf from '@tensorflow/tfjs';
import {locateWasm} from '../../../shared/wasm';
import {type Backend, BACKENDS} from '../protocol';

/** For a model this small, wasm is the best default, because it needs no warm-up. */
const PREFERRED: readonly Backend[] = ['wasm', 'webgl', 'webgpu', 'cpu'];

/** Starts the wished backend if the browser has it. Returns the started backend and all available ones. */
export async function startBackend(wished: Backend | null): Promise<{backends: Backend[]; backend: Backend}> {
  tf.enableProdMode();
  locateWasm();
  const backends: Backend[] = [];
  for (const backend of BACKENDS) {
    if (await isThere(backend)) {
      backends.push(backend);
    }
  }
  const backend = [wished, ...PREFERRED].find(name => name !== null && backends.includes(name)) ?? 'cpu';
  await switchBackend(backend);
  return {backends, backend};
}

/** Starts a backend. */
export async function switchBackend(backend: Backend): Promise<void> {
  if (!(await tf.setBackend(backend))) {
    throw new Error(`This browser could not start the ${backend} backend.`);
  }
}

async function isThere(backend: Backend): Promise<boolean> {
  switch (backend) {
    case 'webgpu':
      if (!(await hasGpu())) {
        return false;
      }
      await import('@tensorflow/tfjs-backend-webgpu');
      break;
    case 'webgl':
      // In a worker, WebGL draws on a canvas that is on no page.
      if (typeof OffscreenCanvas === 'undefined' || new OffscreenCanvas(1, 1).getContext('webgl2') === null) {
        return false;
      }
      break;
    case 'wasm':
    case 'cpu':
  }
  return tf.setBackend(backend);
}

async function hasGpu(): Promise<boolean> {
  const {gpu} = navigator as {gpu?: {requestAdapter(): Promise<unknown>}};
  try {
    return ((await gpu?.requestAdapter()) ?? null) !== null;
  } catch {
    return false;
  }
}
