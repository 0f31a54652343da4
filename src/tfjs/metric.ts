import type * as tf from '@tensorflow/tfjs';

/** What `compile` takes among `metrics`. */
export type Metric = (targets: tf.Tensor, predictions: tf.Tensor) => tf.Tensor;

/** A metric under a name for the logs. tfjs asks a function for its name. */
export function withName(name: string, measure: Metric): Metric {
  return Object.defineProperty(measure, 'name', {value: name});
}
