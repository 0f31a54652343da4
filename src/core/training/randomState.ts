import type * as tf from '@tensorflow/tfjs';
import {isWrapper} from '../layers/wrapperLayer';
import {sitesOf} from '../rewire/walk';

/** From where the random numbers of a layer follow. */
export interface RandomState {
  seed: number;
  step: number;
}

/** The random numbers of a model's layers, by path: the dropout of their updates. What is in them can be set. */
export function randomStatesOf(model: tf.LayersModel): Map<string, RandomState> {
  const states = new Map<string, RandomState>();
  for (const {path, layer} of sitesOf(model)) {
    const {dropout} = layer as {dropout?: RandomState};
    if (isWrapper(layer) && dropout !== undefined) {
      states.set(path, dropout);
    }
  }
  return states;
}

/** Copies of the random states of a model. */
export function copyRandomStates(model: tf.LayersModel): Record<string, RandomState> {
  return Object.fromEntries([...randomStatesOf(model)].map(([path, {seed, step}]) => [path, {seed, step}]));
}

/** Lets the random numbers of a model go on from copies. */
export function restoreRandomStates(model: tf.LayersModel, copies: Readonly<Record<string, RandomState>>): void {
  randomStatesOf(model).forEach((state, path) => {
    const copy = copies[path];
    if (copy !== undefined) {
      state.seed = copy.seed;
      state.step = copy.step;
    }
  });
}
