import * as tf from '@tensorflow/tfjs';

/**
 * Returns the encoded tensors that a model takes, in the order of its inputs: by the names that inputs have in models
 * of the hub, or else by position.
 */
export function tensorsFor(
  model: tf.LayersModel | tf.GraphModel,
  encoded: Readonly<Record<string, tf.Tensor>>,
): tf.Tensor[] {
  const names = model instanceof tf.GraphModel ? [] : model.inputNames;
  const byName = names.flatMap(name => encoded[name] ?? []);
  return byName.length > 0 ? byName : Object.values(encoded).slice(0, model.inputs.length);
}
