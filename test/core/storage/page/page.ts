// What the tests of storage in a browser call: tfjs and the library, as a page has them.

import * as tf from '@tensorflow/tfjs';
import {makeAdapter} from '../../../../src/core/adapter/adapter';
import * as lora from '../../../../src/index';

declare global {
  interface Window {
    tf: typeof tf;
    lora: typeof lora;
    /** An adapter of one layer, whose first number is `value`. */
    adapterOf: (value: number, size?: number) => lora.Adapter;
    /** The first number of the adapter that is saved somewhere. */
    valueAt: (place: string) => Promise<number>;
    /** An adapted model, compiled. */
    trainable: () => tf.LayersModel;
    /** What a promise is rejected with, as text. */
    failure: (promise: Promise<unknown>, patience?: number) => Promise<string>;
  }
}

tf.enableProdMode();
Object.assign(window, {tf, lora});

window.adapterOf = (value, size = 3) => {
  const layer = {className: 'Dense', rank: 1, alpha: 1, rankStabilized: false, freezeBaseLayer: true};
  const filled = (shape: [number, number]) => tf.tensor(new Float32Array(shape[0] * shape[1]).fill(value), shape);
  const tensors = {'dense/lora_A': filled([size, 1]), 'dense/lora_B': filled([1, 2])};
  return makeAdapter({layers: {dense: layer}, trainable: []}, tensors);
};

window.trainable = () => {
  const model = lora.applyLoRA(tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]}), {rank: 1});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  return model;
};

window.valueAt = async place => {
  const adapter = await lora.loadAdapter(place);
  const [a, b] = await Promise.all(Object.values(adapter.tensors).map(tensor => tensor.data()));
  adapter.dispose();
  if (a?.[0] !== b?.[0]) {
    throw new Error('The tensors are of two adapters.');
  }
  return a?.[0] ?? NaN;
};

window.failure = (promise, patience = 5000) =>
  Promise.race([
    promise.then(
      () => 'It succeeded.',
      (error: unknown) => String(error),
    ),
    new Promise<string>(resolve => setTimeout(() => resolve('It never settled.'), patience)),
  ]);
