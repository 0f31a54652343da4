import type * as tf from '@tensorflow/tfjs';
import {isWrapper} from '../layers/wrapperLayer';
import {disposeModel} from '../rewire/dispose';
import {sitesOf} from '../rewire/walk';
import {mergeLoRA} from './restore';

/** Runs `f` with a model, merged for that time if it is adapted. */
export async function whileMerged<T>(
  model: tf.LayersModel,
  f: (plain: tf.LayersModel) => Promise<T>,
  merge = mergeLoRA,
): Promise<T> {
  if (!sitesOf(model).some(({layer}) => isWrapper(layer))) {
    return f(model);
  }
  const merged = merge(model);
  try {
    return await f(merged);
  } finally {
    disposeModel(merged);
  }
}
