import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from '../cases/case';
import type {Run} from '../measure';
import {compile, forward, step} from '../runs';

/** Something that can be run, and what frees it. */
export interface Held {
  run: Run;
  dispose: () => void;
}

/** Gets a case ready to run with so many examples. */
export type Maker = (benchCase: BenchCase, examples: number) => Promise<Held>;

/** How a model is freed, which the library does otherwise than tfjs. Nothing here loads the library. */
type Free = (model: tf.LayersModel) => unknown;

/** Passes of a model forward. */
export function predicting(free: Free): Maker {
  return async ({build, batch: makeBatch}, examples) => {
    const [model, batch] = [await build(), makeBatch(examples)];
    const dispose = () => {
      free(model);
      tf.dispose({...batch});
    };
    return {run: forward(model, batch.xs), dispose};
  };
}

/** Steps of a model that trains. Default for the optimizer: that of tfjs. */
export function training(
  model: tf.LayersModel,
  {batch: makeBatch, loss}: BenchCase,
  examples: number,
  free: Free,
  ofItsOwn?: tf.Optimizer,
): Held {
  const batch = makeBatch(examples);
  const optimizer = compile(model, loss, ofItsOwn);
  const dispose = () => {
    free(model);
    optimizer.dispose();
    tf.dispose({...batch});
  };
  return {run: step(model, batch), dispose};
}
