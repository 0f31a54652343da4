import * as tf from '@tensorflow/tfjs';

/**
 * Gives a variable the values of a tensor with its shape, like `assign`, but without counting them: that would request
 * from the current backend values that are on another one.
 */
export function takeData(variable: tf.Variable, {dataId}: tf.Tensor): void {
  const engine = tf.engine();
  engine.disposeTensor(variable);
  variable.dataId = dataId;
  (engine as unknown as {trackTensor(tensor: tf.Tensor, backend: null): void}).trackTensor(variable, null);
}
