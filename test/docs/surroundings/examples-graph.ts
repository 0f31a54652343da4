import * as tf from '@tensorflow/tfjs';
import {convolution, graphOf, input, node} from '../../extensions/graph/graphs';

const {layers} = tf;
export const cut = 'first';
export const shape = [4, 4, 2];
export const end = 'second';
export const head = [layers.flatten({name: 'flat'}), layers.dense({units: 3, activation: 'softmax', name: 'classes'})];
export const features = tf.randomNormal([4, ...shape]);
export const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 0], 'int32'), 3).toFloat();

/** Two convolutions; it is loaded before the page runs. */
export let graph: tf.GraphModel;

export async function files() {
  graph = await graphOf(
    [
      input('images', [1, 4, 4, 1]),
      node('first', 'Conv2D', ['images', 'k'], convolution()),
      node('second', 'Conv2D', ['first', 'l'], convolution()),
      node('pooled', 'Mean', ['second', 'axes'], {keep_dims: {b: false}}),
    ],
    {
      k: tf.randomNormal([3, 3, 1, 2]),
      l: tf.randomNormal([3, 3, 2, 4]),
      axes: tf.tensor1d([1, 2], 'int32'),
    },
  );
  return {};
}
