// What tests of graphics cards call in a browser: tfjs with all of its backends there, and the library.

import * as tf from '@tensorflow/tfjs';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgpu';
import * as lora from '../../../../src/index';

declare global {
  interface Window {
    tf: typeof tf;
    lora: typeof lora;
    /** Makes a backend current, on which nothing is computed on cpu for being small. */
    use: (backend: string) => Promise<void>;
    /** Loses the graphics card of the current backend. */
    lose: (restore?: boolean) => Promise<void>;
    /** An adapted model that was compiled, and data for it. */
    setting: (optimizer?: string | tf.Optimizer) => Setting;
    /** What a function throws or rejects with, as text. */
    failureOf: (f: () => unknown, patience?: number) => Promise<string>;
  }
}

/** What is trained. */
export interface Setting {
  base: tf.LayersModel;
  model: tf.LayersModel;
  x: tf.Tensor;
  y: tf.Tensor;
}

tf.enableProdMode();
setWasmPaths('/wasm/');
Object.assign(window, {tf, lora});

window.use = async backend => {
  if (!(await tf.setBackend(backend))) {
    throw new Error(`There is no backend ${backend}.`);
  }
  tf.env().set('WEBGL_CPU_FORWARD', false);
  tf.env().set('WEBGPU_CPU_FORWARD', false);
};

window.lose = async (restore = false) => {
  const {gpgpu, device} = tf.backend() as unknown as {
    gpgpu?: {gl: WebGLRenderingContext};
    device?: {destroy: () => void; lost: Promise<unknown>};
  };
  if (gpgpu === undefined) {
    device!.destroy();
    await device!.lost;
    return;
  }
  const {gl} = gpgpu;
  const extension = gl.getExtension('WEBGL_lose_context')!;
  const event = (name: string) => new Promise(resolve => gl.canvas.addEventListener(name, resolve, {once: true}));
  const lost = event('webglcontextlost');
  extension.loseContext();
  await lost;
  await new Promise(resolve => setTimeout(resolve)); // the event has been dealt with
  if (restore) {
    const restored = event('webglcontextrestored');
    extension.restoreContext();
    await restored;
  }
};

window.setting = (optimizer = lora.adam({learningRate: 0.02, epsilon: 1e-7})) => {
  const {dense} = tf.layers;
  const initial = (seed: number) => tf.initializers.glorotUniform({seed});
  const base = tf.sequential({
    layers: [
      dense({units: 6, activation: 'tanh', name: 'hidden', inputShape: [5], kernelInitializer: initial(1)}),
      dense({units: 3, name: 'head', kernelInitializer: initial(2)}),
    ],
  });
  const model = lora.applyLoRA(base, {rank: 2, seed: 1});
  model.compile({optimizer, loss: 'meanSquaredError'});
  return {
    base,
    model,
    x: tf.randomNormal([12, 5], 0, 1, 'float32', 5),
    y: tf.randomNormal([12, 3], 0, 1, 'float32', 6),
  };
};

window.failureOf = (f, patience = 5000) =>
  Promise.race([
    Promise.resolve()
      .then(f)
      .then(
        () => 'It succeeded.',
        (error: unknown) => String(error),
      ),
    new Promise<string>(resolve => setTimeout(() => resolve('It never settled.'), patience)),
  ]);
