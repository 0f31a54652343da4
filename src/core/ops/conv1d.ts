import * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from '../../backends/shared/geometry';
import {conv2dOp} from './conv2d';
import type {Linear} from './factors';

/**
 * The convolution `x ∗ W`: `[n, w, in] ∗ [k, in, out] → [n, w', out]`.
 *
 * As in tfjs it is one of images that are one pixel high, which costs nothing but reshapes.
 */
export function conv1dOp({strides, padding, dilations}: ConvSettings<[width: number]>): Linear {
  const images = conv2dOp({strides: [1, ...strides], padding, dilations: [1, ...dilations]});
  return {
    forward: (x, kernel, bias, activation) =>
      asSequences(images.forward(asImages(x), asFilter(kernel), bias, activation)),
    inputGradient: (dz, kernel, [n = 0, ...sequence]) =>
      asSequences(images.inputGradient(asImages(dz), asFilter(kernel), [n, 1, ...sequence])),
    kernelGradient: (x, dz, kernelShape) =>
      tf.reshape(images.kernelGradient(asImages(x), asImages(dz), [1, ...kernelShape]), kernelShape),
  };
}

/** `[n, w, c] → [n, 1, w, c]`. */
function asImages(x: tf.Tensor): tf.Tensor {
  const [n = 0, ...sequence] = x.shape;
  return tf.reshape(x, [n, 1, ...sequence]);
}

/** `[n, 1, w, c] → [n, w, c]`. */
function asSequences(y: tf.Tensor): tf.Tensor {
  const [n = 0, , ...sequence] = y.shape;
  return tf.reshape(y, [n, ...sequence]);
}

/** `[k, in, out] → [1, k, in, out]`. */
function asFilter(kernel: tf.Tensor): tf.Tensor {
  return tf.reshape(kernel, [1, ...kernel.shape]);
}
