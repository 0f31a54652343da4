import type * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel} from 'tfjs-lora';
import type {BenchCase} from '../cases/case';
import {LEARNING_RATE} from '../runs';
import type {RUNS} from './protocol';
import {type Held, type Maker, predicting, training} from './runs';

function stepsOf(model: tf.LayersModel, benchCase: BenchCase, examples: number): Held {
  return training(model, benchCase, examples, disposeModel, adam({learningRate: LEARNING_RATE}));
}

/** What is measured with the library. */
export const makers: Readonly<Record<(typeof RUNS.library)[number], Maker>> = {
  predict: predicting(disposeModel),
  lora: async (benchCase, examples) => {
    const base = await benchCase.build();
    const model = applyLoRA(base, benchCase.targets(base));
    disposeModel(base); // weights are shared by then
    return stepsOf(model, benchCase, examples);
  },
  full: async (benchCase, examples) => stepsOf(await benchCase.build(), benchCase, examples),
};
