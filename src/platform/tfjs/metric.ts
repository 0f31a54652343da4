import * as tf from '@tensorflow/tfjs';

/** An entry of `metrics` in `compile`. */
export type MetricFunction = (targets: tf.Tensor, predictions: tf.Tensor) => tf.Tensor;

/** A sum divided by the number of entries that count; NaN if there are none, since tfjs averages over batches. */
export function shareOf(sum: tf.Tensor, count: tf.Tensor): tf.Tensor {
  return tf.where(tf.greater(count, 0), tf.divNoNan(sum, count), NaN);
}

/** A metric under a name for the logs. tfjs asks a function for its name. */
export function withName(name: string, measure: MetricFunction): MetricFunction {
  return Object.defineProperty(measure, 'name', {value: name});
}
