import type * as tf from '@tensorflow/tfjs';
import {isWrapper} from '../layers/wrapperLayer';
import {sitesOf} from '../rewire/walk';

/** The source of a layer's random numbers. */
export interface RandomState {
  seed: number;
  step: number;
}

/** The random states of a model's layers, by path: the dropout of their updates. They can be set. */
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

export function copyRandomStates(model: tf.LayersModel): Record<string, RandomState> {
  return Object.fromEntries([...randomStatesOf(model)].map(([path, {seed, step}]) => [path, {seed, step}]));
}

export function restoreRandomStates(model: tf.LayersModel, copies: Readonly<Record<string, RandomState>>): void {
  randomStatesOf(model).forEach((state, path) => {
    const copy = copies[path];
    if (copy !== undefined) {
      state.seed = copy.seed;
      state.step = copy.step;
    }
  });
}
