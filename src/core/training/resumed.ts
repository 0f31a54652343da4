import type * as tf from '@tensorflow/tfjs';
import {fittedModel} from '../model/fits';

/** The state of a callback in a checkpoint: JSON values, and tensors. */
export interface CallbackState {
  values: Record<string, unknown>;
  tensors: Record<string, tf.Tensor>;
}

/** The position of a model that was resumed and has not been trained since. */
export interface Resumed {
  /** The epoch in which it continues, and how many of its batches are done. */
  epoch: number;
  batch: number;
  /** How many steps the run has taken. */
  step: number;
  /** How many steps the optimizer has counted. */
  iterations: number;
  /** The number of the checkpoint. */
  number: number;
  /** The states of its callbacks, until they take them. */
  states: Map<string, CallbackState>;
}

const resumed = new WeakMap<tf.layers.Layer, Resumed>();

/** Remembers the position of a model. */
export function setResumed(model: tf.LayersModel, state: Resumed): void {
  forgetResumed(model);
  resumed.set(fittedModel(model), state);
}

/** Forgets the position of a model, and frees what no callback took. */
export function forgetResumed(model: tf.LayersModel): void {
  const former = resumed.get(fittedModel(model));
  former?.states.forEach(({tensors}) => Object.values(tensors).forEach(tensor => tensor.dispose()));
  resumed.delete(fittedModel(model));
}

/** The states of callbacks of a resumed model, until they take them. */
export function statesFor(model: tf.LayersModel): ReadonlyMap<string, CallbackState> | undefined {
  return resumed.get(fittedModel(model))?.states;
}

/**
 * The position of a model, if it was resumed for a fit that begins with this epoch and has taken no step since.
 *
 * @param epoch `undefined` for a fit without epochs.
 */
export function resumedAt(model: tf.LayersModel, epoch: number | undefined): Resumed | undefined {
  const state = resumed.get(fittedModel(model));
  const isHere = epoch === undefined || state?.epoch === epoch;
  return isHere && state?.iterations === model.optimizer.iterations ? state : undefined;
}
