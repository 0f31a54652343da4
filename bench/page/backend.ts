import * as tf from '@tensorflow/tfjs';
import {getThreadsCount} from '@tensorflow/tfjs-backend-wasm';
import {locateWasm} from '../../examples/shared/wasm';
import type {BackendName, Started} from './protocol';

/** Makes a backend current, in a worker. @throws Error if the device does not have it. */
export async function startBackend(backend: BackendName): Promise<Started> {
  tf.enableProdMode();
  locateWasm();
  if (backend === 'webgpu') {
    await import('@tensorflow/tfjs-backend-webgpu');
  }
  if (!(await tf.setBackend(backend))) {
    throw new Error(`This browser has no ${backend}.`);
  }
  await tf.ready();
  const env = tf.env();
  return {
    tfjs: tf.version.tfjs,
    ...(backend === 'wasm' && {
      threads: getThreadsCount(),
      simd: Boolean(await env.getAsync('WASM_HAS_SIMD_SUPPORT')),
    }),
    ...(backend === 'webgl' && {floatBits: env.getBool('WEBGL_RENDER_FLOAT32_ENABLED') ? 32 : 16}),
  };
}
