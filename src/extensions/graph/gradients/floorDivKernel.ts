import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from '../../../backends/shared/kernel';

/**
 * `FloorDiv` of floats on webgl. The stock kernel rounds both floats to integers before it divides.
 *
 * A card may divide exact multiples to a little less than an integer, so the remainder tells whether the quotient is
 * one off.
 */
export const floorDivKernel = wrappedKernel<{a: tf.Tensor; b: tf.Tensor}, object>(tf.FloorDiv, stock => call => {
  const {a, b} = call.inputs;
  if (a.dtype !== 'float32' && b.dtype !== 'float32') {
    return stock(call);
  }
  return tf.tidy(() => {
    const [dividend, divisor] = [tf.cast(a, 'float32'), tf.cast(b, 'float32')];
    const quotient = tf.floor(tf.div(dividend, divisor));
    const remainder = tf.mul(tf.sub(dividend, tf.mul(quotient, divisor)), tf.sign(divisor));
    const isOver = tf.cast(tf.less(remainder, 0), 'float32');
    const isUnder = tf.cast(tf.greaterEqual(remainder, tf.abs(divisor)), 'float32');
    return tf.cast(tf.add(tf.sub(quotient, isOver), isUnder), 'int32');
  });
});
