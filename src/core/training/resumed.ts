import type * as tf from '@tensorflow/tfjs';
import {subjectOf} from '../model/fits';

/** What a callback keeps in a checkpoint: values that JSON can hold, and tensors. */
export interface CallbackState {
  values: Record<string, unknown>;
  tensors: Record<string, tf.Tensor>;
}

/** Where a model stands that was resumed and has not been trained since. */
export interface Resumed {
  /** The epoch in which it goes on, and how many of its batches are done. */
  epoch: number;
  batch: number;
  /** How many steps the run has behind it. */
  step: number;
  /** How many steps the optimizer has counted. */
  iterations: number;
  /** The number of the checkpoint. */
  number: number;
  /** What its callbacks kept, until they take it. */
  states: Map<string, CallbackState>;
}

const resumed = new WeakMap<tf.layers.Layer, Resumed>();

/** Remembers where a model stands. */
export function setResumed(model: tf.LayersModel, state: Resumed): void {
  forgetResumed(model);
  resumed.set(subjectOf(model), state);
}

/** Forgets where a model stood, and frees what no callback took. */
export function forgetResumed(model: tf.LayersModel): void {
  const former = resumed.get(subjectOf(model));
  former?.states.forEach(({tensors}) => Object.values(tensors).forEach(tensor => tensor.dispose()));
  resumed.delete(subjectOf(model));
}

/** What callbacks kept of a model that was resumed, until they take it. */
export function statesFor(model: tf.LayersModel): ReadonlyMap<string, CallbackState> | undefined {
  return resumed.get(subjectOf(model))?.states;
}

/**
 * Where a model stands, if it was resumed for a fit that begins with this epoch and has taken no step since.
 *
 * @param epoch `undefined` for a fit without epochs.
 */
export function resumedAt(model: tf.LayersModel, epoch: number | undefined): Resumed | undefined {
  const state = resumed.get(subjectOf(model));
  const isHere = epoch === undefined || state?.epoch === epoch;
  return isHere && state?.iterations === model.optimizer.iterations ? state : undefined;
}
