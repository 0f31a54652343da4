import * as tf from '@tensorflow/tfjs';
import type {render} from '@tensorflow/tfjs-vis';

const {layers} = tf;
export const base = tf.sequential({
  layers: [
    layers.dense({units: 8, activation: 'relu', inputShape: [3]}),
    layers.dense({name: 'head', units: 2, activation: 'softmax'}),
  ],
});
const labels = (count: number) =>
  tf
    .oneHot(
      Int32Array.from({length: count}, (_, i) => i % 2),
      2,
    )
    .toFloat();
export const xs = tf.randomNormal([32, 3]);
export const ys = labels(32);
export const xsHeldOut = tf.randomNormal([8, 3]);
export const ysHeldOut = labels(8);

/** It draws in pages alone. */
export const tfvis = {render: {scatterplot: (() => Promise.resolve()) as typeof render.scatterplot}};
