// What each runtime does with the packed library.

import * as tf from '@tensorflow/tfjs';
import * as lora from 'tfjs-lora';
import 'tfjs-lora/graph';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';
import 'tfjs-lora/transformers';

/** How often functions of the library's module were called. It alone is made at once, in the memory of the backend. */
let calls = 0;
const {Instance} = WebAssembly;
WebAssembly.Instance = class {
  constructor(...args) {
    const counted = ([name, f]) => [name, typeof f === 'function' ? (...values) => (calls++, f(...values)) : f];
    this.exports = Object.fromEntries(Object.entries(new Instance(...args).exports).map(counted));
  }
};

/** Trains on a backend, saves the adapter at a place, reads it and merges. Gives what is wrong, or nothing. */
export async function faultOf(backend, place) {
  if (!(await tf.setBackend(backend))) {
    return `${backend} did not start`;
  }
  const base = digitReader();
  const {images, labels} = rotatedDigits();
  const model = lora.applyLoRA(base, {rank: 2, seed: 1});
  model.compile({optimizer: lora.adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});
  let before = 0;
  const onEpochBegin = () => {
    before = calls; // the first epoch tries the module out
  };
  const options = {epochs: 2, shuffle: false, verbose: 0, callbacks: {onEpochBegin}};
  const {history} = await model.fit(images, labels, options);
  const kernels = calls > before ? 'module' : 'backend';
  await lora.saveAdapter(model, place);
  const merged = lora.mergeLoRA(lora.applyLoRA(base, await lora.loadAdapter(place)));

  const [first, last] = history.loss;
  const distance = (one, other) => tf.tidy(() => tf.max(tf.abs(tf.sub(one.predict(images), other.predict(images)))));
  const [kept, learned] = await Promise.all([distance(model, merged), distance(model, base)].map(each => each.data()));
  const isRight =
    last < first && kept[0] < 1e-5 && learned[0] > 1e-3 && kernels === (backend === 'wasm' ? 'module' : 'backend');
  return isRight ? undefined : `${backend}: ${JSON.stringify({kernels, first, last, kept, learned})}`;
}
