import * as tf from '@tensorflow/tfjs';
import {convolution, graphOf, input, node} from '../../extensions/graph/graphs';

export const cut = 'first';
export const images = tf.randomUniform([4, 16, 16, 1]);
export const landmarks = tf.randomUniform([4, 63], 0, 16);
export const presence = tf.ones([4, 1]);
export const presenceLoss = tf.metrics.binaryCrossentropy;

/**
 * Two convolutions, and of what they give 21 landmarks, and whether there is a hand; it is loaded before the page runs.
 */
export let graph: tf.GraphModel;

export async function files() {
  graph = await landmarkGraph();
  return {};
}

/** A small graph with the outputs of a published one: landmarks, and whether there is anything. */
export function landmarkGraph(): Promise<tf.GraphModel> {
  return graphOf(
    [
      input('images', [1, 16, 16, 1]),
      node('first', 'Conv2D', ['images', 'k'], convolution()),
      node('second', 'Conv2D', ['first', 'l'], convolution()),
      node('pooled', 'Mean', ['second', 'axes'], {keep_dims: {b: false}}),
      node('Identity', 'MatMul', ['pooled', 'w']),
      node('flag', 'MatMul', ['pooled', 'v']),
      node('Identity_1', 'Sigmoid', ['flag']),
    ],
    {
      k: tf.randomNormal([3, 3, 1, 2]),
      l: tf.randomNormal([3, 3, 2, 4]),
      axes: tf.tensor1d([1, 2], 'int32'),
      w: tf.randomNormal([4, 63]),
      v: tf.randomNormal([4, 1]),
    },
  );
}
