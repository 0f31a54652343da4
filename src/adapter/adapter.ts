import * as tf from '@tensorflow/tfjs';
import type {Adapter, AdapterConfig} from '../config';
import {adapterConfig, adapterVariables} from '../model/adapted';

/**
 * The adapter of a model, as a value: a snapshot that shares buffers with the model and is not touched by what happens to it later.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function getAdapter(model: tf.LayersModel): Adapter {
  const entries = [...adapterVariables(model)].map(([name, variable]) => [name, tf.clone(variable.read())] as const);
  return makeAdapter(adapterConfig(model), Object.fromEntries(entries));
}

/** An adapter that owns the given tensors. */
export function makeAdapter(config: AdapterConfig, tensors: Record<string, tf.Tensor>): Adapter {
  // An adapter lives until it is disposed, wherever it is made.
  Object.values(tensors).forEach(tensor => tf.keep(tensor));
  return {config, tensors, dispose: () => tf.dispose(tensors)};
}
