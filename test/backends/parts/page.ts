// What a page does while the library's kernels for wasm are on their way.

import * as tf from '@tensorflow/tfjs';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';

declare global {
  interface Window {
    libraryFirst: () => Promise<Outcome>;
    backendFirst: () => Promise<Outcome>;
    withoutLayers: () => Promise<Outcome>;
  }
}

/** What came of it: the losses of a fit, predictions before and after it, and errors by their codes. */
export interface Outcome {
  losses?: number[];
  before?: number[];
  waited?: boolean;
  errors: string[];
  warnings: string[];
}

tf.enableProdMode();
setWasmPaths('/wasm/');

const warnings: string[] = [];
console.warn = (...texts: unknown[]) => warnings.push(texts.join(' '));

const ramp = (shape: number[]) =>
  tf.div(tf.reshape(tf.range(0, tf.util.sizeFromShape(shape)), shape), tf.util.sizeFromShape(shape));

/** A convolution and a product with numbers that are not drawn. */
async function makeModel(): Promise<{model: tf.LayersModel; x: tf.Tensor; y: tf.Tensor}> {
  const {applyLoRA} = await import('../../../src/index');
  const base = tf.sequential({
    layers: [
      tf.layers.conv2d({inputShape: [6, 6, 2], filters: 4, kernelSize: 3, activation: 'relu'}),
      tf.layers.maxPooling2d({poolSize: 2}),
      tf.layers.flatten(),
      tf.layers.dense({units: 3}),
    ],
  });
  base.setWeights(base.getWeights().map(({shape}) => tf.sub(ramp(shape), 0.4)));
  const model = applyLoRA(base, {rank: 2, seed: 1});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  return {model, x: ramp([4, 6, 6, 2]), y: ramp([4, 3])};
}

const codeOf = (error: unknown) => `${(error as {code?: string}).code}: ${(error as Error).message}`;

async function fitted(errors: string[]): Promise<Partial<Outcome>> {
  const {model, x, y} = await makeModel();
  const before = Array.from(await (model.predict(x) as tf.Tensor).data());
  try {
    const {history} = await model.fit(x, y, {epochs: 3, shuffle: false});
    return {before, losses: history.loss as number[]};
  } catch (error) {
    errors.push(codeOf(error));
    return {before};
  }
}

window.libraryFirst = async () => {
  const errors: string[] = [];
  await import('../../../src/index');
  await tf.setBackend('wasm');
  return {...(await fitted(errors)), errors, warnings};
};

/** As `tf.variableGrads` in a loop of one's own: without waiting, then after `tf.ready`. */
window.backendFirst = async () => {
  const errors: string[] = [];
  await tf.setBackend('wasm');
  const {model, x, y} = await makeModel();
  const step = () => {
    const loss = (): tf.Scalar => tf.losses.meanSquaredError(y, model.apply(x, {training: true}) as tf.Tensor);
    tf.dispose(tf.variableGrads(loss).grads);
  };
  for (const wait of [undefined, tf.ready]) {
    await wait?.();
    try {
      step();
    } catch (error) {
      errors.push(codeOf(error));
    }
  }
  return {...(await fitted(errors)), errors, warnings};
};

/** Operations of tfjs by themselves, before and after the kernels are there: `errors` has `none` for each that works. */
window.withoutLayers = async () => {
  const errors: string[] = [];
  const before: number[] = [];
  await tf.setBackend('wasm');
  await import('../../../src/index');
  const filterGradient = () => {
    const x: tf.Tensor4D = tf.ones([1, 3, 3, 1]);
    const ofFilter = (filter: tf.Tensor) => tf.conv2d(x, filter as tf.Tensor4D, 1, 'valid');
    tf.dispose(tf.grad(ofFilter)(tf.ones([2, 2, 1, 1])));
  };
  const volume = () => {
    const x: tf.Tensor5D = tf.ones([1, 1, 1, 1, 8]);
    const filter: tf.Tensor5D = tf.ones([2, 2, 2, 1, 8]);
    before.push(tf.conv3dTranspose(x, filter, [1, 2, 2, 2, 1], 2, 'valid').dataSync()[0]!);
  };
  for (const wait of [undefined, tf.ready]) {
    await wait?.();
    for (const compute of [filterGradient, volume]) {
      try {
        compute();
        errors.push('none');
      } catch (error) {
        errors.push(codeOf(error));
      }
    }
  }
  return {before, errors, warnings};
};
