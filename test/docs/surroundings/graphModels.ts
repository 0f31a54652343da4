import * as tf from '@tensorflow/tfjs';
import {convolution, graphOf, input, node} from '../../extensions/graph/graphs';
import {modelFiles} from '../makeFiles';

export const url = 'https://example.com/graph/model.json';
export const x = tf.randomNormal([4, 6, 6, 2]);
export const y = tf.oneHot(tf.tensor1d([0, 1, 2, 0], 'int32'), 3).toFloat();

/** A convolution, its mean over the image, and classes, with names as MobileNetV2 has them. */
export async function files() {
  const constants = {
    k: tf.randomNormal([3, 3, 2, 1280]),
    axes: tf.tensor1d([1, 2], 'int32'),
    w: tf.randomNormal([1280, 3]),
  };
  const graph = await graphOf(
    [
      input('images', [1, 6, 6, 2]),
      node('MobilenetV2/Conv_1/Conv2D', 'Conv2D', ['images', 'k'], convolution()),
      node('MobilenetV2/Conv_1/Relu6', 'Relu6', ['MobilenetV2/Conv_1/Conv2D']),
      node('pooled', 'Mean', ['MobilenetV2/Conv_1/Relu6', 'axes'], {keep_dims: {b: false}}),
      node('logits', 'MatMul', ['pooled', 'w']),
      node('classes', 'Softmax', ['logits']),
    ],
    constants,
  );
  return modelFiles('https://example.com/graph', graph);
}
