import * as tf from '@tensorflow/tfjs';

/** The logarithm of a probability of 0: finite, so that no difference of two is NaN. */
export function logOfZero(): number {
  return tf.backend().floatPrecision() === 16 ? -1e4 : -1e30;
}
