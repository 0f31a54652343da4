// Runs the suite in a page, which calls `startSuite` and has `reportOutcome`.

import * as tf from '@tensorflow/tfjs';
import type {Outcome} from './case';
import {HALF_WEBGL, type Order, start} from './start';

declare global {
  interface Window {
    startSuite: (backend: string, order: Order, every: number) => Promise<void>;
    reportOutcome: (outcome: Outcome) => Promise<void>;
  }
}

const PACKAGES: Record<string, () => Promise<unknown>> = {
  wasm: async () => {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths('/wasm/');
  },
  webgpu: () => import('@tensorflow/tfjs-backend-webgpu'),
};

tf.enableProdMode();
window.startSuite = (backend, order, every) => {
  if (backend === HALF_WEBGL) {
    tf.env().set('WEBGL_FORCE_F16_TEXTURES', true);
  }
  if (order === 'libraryFirst') {
    // Models as small as these would be computed on cpu in part.
    tf.env().set('WEBGL_CPU_FORWARD', false);
  }
  return start(backend, order, {
    site: 'Chromium',
    loadBackends: async () => {
      await PACKAGES[backend]?.();
      if (backend === 'webgpu' && order === 'libraryFirst') {
        tf.env().set('WEBGPU_CPU_FORWARD', false);
      }
    },
    ownCases: async () => {
      const {languageCases} = await import('./languageCases');
      const written = languageCases(async name => new Uint8Array(await (await fetch(`/gguf/${name}`)).arrayBuffer()));
      if (backend !== 'wasm') {
        return written;
      }
      const {callThreads, threadCases} = await import('./threadCases');
      await callThreads();
      return [...written, ...threadCases];
    },
    report: window.reportOutcome,
    every,
  });
};
