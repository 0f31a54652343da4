import * as tf from '@tensorflow/tfjs';
import type {Run} from '../measure';
import {forward} from '../runs';
import type {BenchCase} from './case';
import {layerNames, oneHot} from './tools';

const BATCH = 64;
const WIDTH = 1024;
const DEPTH = 4;
const CLASSES = 10;

export const mlp: BenchCase = {
  title: (examples = BATCH) =>
    `MLP: ${DEPTH} × Dense ${WIDTH} relu + head ${CLASSES}, batch ${examples}, rank 8 on every layer`,
  loss: 'categoricalCrossentropy',
  build: () => {
    const model = tf.sequential();
    for (let i = 0; i < DEPTH; i++) {
      model.add(
        tf.layers.dense({
          units: WIDTH,
          activation: 'relu',
          ...(i === 0 && {inputShape: [WIDTH]}),
        }),
      );
    }
    model.add(tf.layers.dense({units: CLASSES, activation: 'softmax'}));
    return Promise.resolve(model);
  },
  batch: (examples = BATCH) => ({xs: tf.randomNormal([examples, WIDTH]), ys: oneHot(examples, CLASSES)}),
  targets: model => ({rank: 8, targets: layerNames(model, 'Dense')}),
  floor,
  products,
};

/**
 * The forward pass and, for each layer but the first, `dx = dy·Wᵀ` as a plain product with a transposed kernel that is
 * there already: the rate of the forward pass. The first layer's input is data and needs no gradient.
 */
function floor(model: tf.LayersModel, xs: tf.Tensor): Run {
  const predict = forward(model, xs);
  const products = [CLASSES, ...Array<number>(DEPTH - 1).fill(WIDTH)].map(units => ({
    dy: tf.randomNormal<tf.Rank.R2>([BATCH, units]),
    transposed: tf.randomNormal<tf.Rank.R2>([units, WIDTH]),
  }));
  return async () => {
    await predict();
    for (const {dy, transposed} of products) {
      const dx = tf.matMul(dy, transposed);
      await dx.data();
      dx.dispose();
    }
  };
}

/**
 * `x·W` of each wide layer and `dy·Wᵀ` of each but the first. Each has a kernel of its own, as in the model, so that
 * none stays in the cache.
 */
function products(): Run {
  const kernels = Array.from({length: DEPTH}, () => tf.randomNormal<tf.Rank.R2>([WIDTH, WIDTH]));
  const x = tf.randomNormal<tf.Rank.R2>([BATCH, WIDTH]);
  return () => {
    kernels.forEach(kernel => tf.matMul(x, kernel).dispose());
    kernels.slice(1).forEach(kernel => tf.matMul(x, kernel, false, true).dispose());
    return Promise.resolve();
  };
}
