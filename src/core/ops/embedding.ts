import * as tf from '@tensorflow/tfjs';
import type {Linear} from './factors';

/**
 * The look-up `E[x]`: row indices `[n, 1]`, a table `[vocabulary, dim]` → `[n, dim]`. Mathematically, it is the product
 * of `x` as one-hot rows with the table, which is never computed.
 */
export const embeddingOp: Linear = {
  forward: (x, table) => tf.gather(table, tf.reshape(x, [x.size])),
  // Row indices have no gradient.
  inputGradient: (_dz, _table, inputShape) => tf.zeros(inputShape),
  // The gradient of a row is the sum over its look-ups.
  kernelGradient: (x, dz, tableShape) => tf.scatterND(x, dz, tableShape),
};
