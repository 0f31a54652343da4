import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel} from 'tfjs-lora';
import type {BenchCase} from '../cases/case';
import {compile, forward, LEARNING_RATE, step} from '../runs';
import type {RUNS} from './protocol';
import type {Held, Maker} from './runs';

/** Steps of a model that trains. */
function training(model: tf.LayersModel, {batch: makeBatch, loss}: BenchCase, examples: number): Held {
  const batch = makeBatch(examples);
  const optimizer = compile(model, loss, adam({learningRate: LEARNING_RATE}));
  const dispose = () => {
    disposeModel(model);
    optimizer.dispose();
    tf.dispose({...batch});
  };
  return {run: step(model, batch), dispose};
}

/** What is measured with the library. */
export const makers: Readonly<Record<(typeof RUNS.library)[number], Maker>> = {
  predict: async ({build, batch: makeBatch}, examples) => {
    const [model, batch] = [await build(), makeBatch(examples)];
    const dispose = () => {
      disposeModel(model);
      tf.dispose({...batch});
    };
    return {run: forward(model, batch.xs), dispose};
  },
  lora: async (benchCase, examples) => {
    const base = await benchCase.build();
    const model = applyLoRA(base, benchCase.targets(base));
    disposeModel(base); // weights are shared by then
    return training(model, benchCase, examples);
  },
  full: async (benchCase, examples) => training(await benchCase.build(), benchCase, examples),
};
