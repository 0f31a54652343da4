import * as tf from '@tensorflow/tfjs';
import {bytesOfBase64} from '../../platform/formats/base64';
import {DIGITS} from './data';

const SIDE = 14;

/** Images of handwritten digits, and their labels. */
export interface Digits {
  /** `[400, 14, 14, 1]`, ink is 1 and paper 0. */
  images: tf.Tensor4D;
  /** `[400, 10]`, one-hot. */
  labels: tf.Tensor2D;
}

/**
 * Returns 400 handwritten digits, rotated by 90 degrees, in the order 0 to 9, 0 to 9, and so on. `digitReader` was
 * trained on upright digits; its accuracy on these is hardly better than chance.
 *
 * @returns the images and their labels. The caller disposes of both.
 * @example
 *     const {images, labels} = rotatedDigits();
 *     const right = tf.metrics.categoricalAccuracy(labels, digitReader().predict(images) as tf.Tensor);
 * @experimental
 */
export function rotatedDigits(): Digits {
  // Each byte holds two pixels of 16 grey levels.
  const greys = Float32Array.from(
    [...bytesOfBase64(DIGITS)].flatMap(byte => [byte >> 4, byte & 15]),
    grey => grey / 15,
  );
  const count = greys.length / (SIDE * SIDE);
  const classes = Int32Array.from({length: count}, (_, i) => i % 10);
  return tf.tidy(() => ({
    images: tf.reverse(tf.transpose(tf.tensor4d(greys, [count, SIDE, SIDE, 1]), [0, 2, 1, 3]), 2),
    labels: tf.cast(tf.oneHot(tf.tensor1d(classes), 10), 'float32') as tf.Tensor2D,
  }));
}
