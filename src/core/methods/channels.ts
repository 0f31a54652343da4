import * as tf from '@tensorflow/tfjs';
import {gained} from '../ops/factors';
import type {AdaptableWeight} from './method';

export function outputShape({variable, outAxes = 1, transposed = false}: AdaptableWeight): number[] {
  const shape = variable.shape as number[];
  return transposed ? shape.slice(-2, -1) : shape.slice(-outAxes);
}

/** A kernel whose outputs are each multiplied by a factor. */
export function overOutputs({outAxes = 1, transposed}: AdaptableWeight, kernel: tf.Tensor, gain: tf.Tensor): tf.Tensor {
  if (transposed) {
    return overRows(kernel, gain);
  }
  return outAxes === 1 ? gained(kernel, gain) : tf.mul(kernel, gain);
}

/** A kernel multiplied by a factor for each index on the axis before the last. */
export function overRows(kernel: tf.Tensor, gain: tf.Tensor): tf.Tensor {
  return tf.reshape(tf.mul(stacked(kernel), tf.expandDims(gain, 1)), kernel.shape);
}

/** A kernel with all axes but two joined: of a transposed convolution, `[…, out, in]`, as `[space, out, in]`. */
export function stacked(kernel: tf.Tensor): tf.Tensor {
  return tf.reshape(kernel, [-1, ...kernel.shape.slice(-2)]);
}
