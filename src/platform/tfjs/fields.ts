import type * as tf from '@tensorflow/tfjs';

/** A layer, a model, or an optimizer as a view of its fields. The caller knows its class. */
export function fieldsOf<Fields>(owner: tf.layers.Layer | tf.Optimizer): Fields {
  return owner as unknown as Fields;
}
