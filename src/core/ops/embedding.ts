import * as tf from '@tensorflow/tfjs';
import type {Linear} from './factors';

/**
 * The look-up `E[x]`: row numbers `[n, 1]`, a table `[vocabulary, dim]` → `[n, dim]`. It is the product of `x` as
 * one-hot rows with the table, and so has the form of a product; nothing is ever computed as one.
 */
export const embeddingOp: Linear = {
  forward: (x, table) => tf.gather(table, tf.reshape(x, [x.size])),
  // Row numbers have no gradient.
  inputGradient: (_dz, _table, inputShape) => tf.zeros(inputShape),
  // The gradient of a row is the sum over its look-ups.
  kernelGradient: (x, dz, tableShape) => tf.scatterND(x, dz, tableShape),
};
