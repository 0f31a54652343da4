import type * as tf from '@tensorflow/tfjs';
import type {RUNS} from './protocol';
import {type Maker, predicting, training} from './runs';

const free = (model: tf.LayersModel) => model.dispose();

/**
 * What is measured where tfjs is as it was installed. Importing the library anywhere in here would put its kernels in
 * place.
 */
export const makers: Readonly<Record<(typeof RUNS.stock)[number], Maker>> = {
  predict: predicting(free),
  full: async (benchCase, examples) => training(await benchCase.build(), benchCase, examples, free),
};
