import * as tf from '@tensorflow/tfjs';
import {compile, forward, step} from '../runs';
import type {RUNS} from './protocol';
import type {Maker} from './runs';

/**
 * What is measured where tfjs is as it was installed. Importing the library anywhere in here would put its kernels in
 * place.
 */
export const makers: Readonly<Record<(typeof RUNS.stock)[number], Maker>> = {
  predict: async ({build, batch: makeBatch}, examples) => {
    const [model, batch] = [await build(), makeBatch(examples)];
    const dispose = () => {
      model.dispose();
      tf.dispose({...batch});
    };
    return {run: forward(model, batch.xs), dispose};
  },
  full: async ({build, batch: makeBatch, loss}, examples) => {
    const [model, batch] = [await build(), makeBatch(examples)];
    const optimizer = compile(model, loss);
    const dispose = () => {
      model.dispose();
      optimizer.dispose();
      tf.dispose({...batch});
    };
    return {run: step(model, batch), dispose};
  },
};
