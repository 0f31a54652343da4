import * as tf from '@tensorflow/tfjs';

/**
 * A kernel with `rate − 1` zeros between its entries along each of its first axes: tfjs has no gradient for dilations,
 * but for these products.
 */
export function spread(kernel: tf.Tensor, rates: readonly number[]): tf.Tensor {
  return rates.reduce((inflated, rate, axis) => {
    const size = inflated.shape[axis]!;
    const reach = (size - 1) * rate + 1;
    const places = Array.from({length: size * reach}, (_, i) => Number(i % reach === Math.floor(i / reach) * rate));
    const order = inflated.shape.map((_, i) => (i === 0 ? axis : i === axis ? 0 : i)); // its own inverse
    const swapped = tf.transpose(inflated, order);
    const rows = tf.matMul(tf.tensor2d(places, [size, reach]), tf.reshape(swapped, [size, -1]), true);
    return tf.transpose(tf.reshape(rows, [reach, ...swapped.shape.slice(1)]), order);
  }, kernel);
}
