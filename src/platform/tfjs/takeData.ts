import * as tf from '@tensorflow/tfjs';

/**
 * Gives a variable the numbers of a tensor of its shape, as its `assign` does, but for counting it: that would ask the
 * current backend for numbers that another one has.
 */
export function takeData(variable: tf.Variable, {dataId}: tf.Tensor): void {
  const engine = tf.engine();
  engine.disposeTensor(variable);
  variable.dataId = dataId;
  (engine as unknown as {trackTensor(tensor: tf.Tensor, backend: null): void}).trackTensor(variable, null);
}
