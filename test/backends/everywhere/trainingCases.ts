import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  adamW,
  bestAdapter,
  checkpoint,
  clipByGlobalNorm,
  findLearningRate,
  learningRateSchedule,
  loraPlus,
  progress,
  resume,
  seededBatches,
  sgd,
} from 'tfjs-lora';
import {MemoryHandler} from '../../models';
import {type Case, elsewhere, largestDifference, relativeDifference, within} from './case';
import {adapt, fit, images, makeBase} from './modelCases';

/** What stands around `fit` has to do on every backend. */
export const trainingCases: readonly Case[] = [
  {
    behaviour: 'fit with nested optimizer wrappers has the same loss curve as on cpu',
    tolerance: 1e-3,
    halfTolerance: null,
    run: () => followsCpu(() => nested(adamW({learningRate: 0.01, weightDecay: 0.1, epsilon: 1e-7}))),
  },
  ...within(
    {tolerance: 1e-3, halfTolerance: 3e-3},
    {
      'fit with wrappers around a momentum optimizer has the same loss curve as on cpu': () =>
        followsCpu(() => nested(sgd({learningRate: 0.02, momentum: 0.9}))),
      'fit with wrappers around a tfjs optimizer has the same loss curve as on cpu': () =>
        followsCpu(() => nested(tf.train.momentum(0.02, 0.9))),
    },
  ),
  {behaviour: 'bestAdapter restores the best adapter bit for bit', tolerance: 0, run: bestComesBack},
  {behaviour: 'a resumed run ends like an uninterrupted one', tolerance: 0, run: resumedEndsAlike},
  {behaviour: 'findLearningRate leaves the model unchanged', tolerance: 0, run: sweepLeavesModel},
];

function nested(optimizer: tf.Optimizer): tf.Optimizer {
  return accumulate(loraPlus(clipByGlobalNorm(optimizer, 0.5), {ratio: 4}), 2);
}

async function followsCpu(makeOptimizer: () => tf.Optimizer): Promise<number> {
  const expected = await elsewhere('cpu', () => fit(adapt(makeBase()), makeOptimizer));
  return relativeDifference([await fit(adapt(makeBase()), makeOptimizer)], [expected]);
}

function data() {
  const labels = tf.tensor1d(
    Array.from({length: 12}, (_, i) => i % 3),
    'int32',
  );
  return {x: images(12), y: tf.cast(tf.oneHot(labels, 3), 'float32')};
}

function compiled(): tf.LayersModel {
  const model = adapt(makeBase());
  model.compile({optimizer: loraPlus(sgd({learningRate: 0.02, momentum: 0.9})), loss: 'categoricalCrossentropy'});
  return model;
}

function valuesOf(model: tf.LayersModel): Promise<number[][]> {
  return Promise.all(model.trainableWeights.map(async weight => Array.from(await weight.read().data())));
}

async function bestComesBack(): Promise<number> {
  const model = compiled();
  const {x, y} = data();
  let best: number[][] = [];
  const scripted = new tf.CustomCallback({
    onEpochEnd: async (epoch, logs) => {
      logs!.loss = [3, 1, 2][epoch]!;
      best = epoch === 1 ? await valuesOf(model) : best;
    },
  });
  await model.fit(x, y, {epochs: 3, batchSize: 6, verbose: 0, callbacks: [scripted, bestAdapter()]});
  return largestDifference(await valuesOf(model), best);
}

async function resumedEndsAlike(): Promise<number> {
  const {x, y} = data();
  const batches = () => seededBatches(x, y, {batchSize: 5, seed: 1});
  const callbacks = () => [learningRateSchedule({warmup: 2, steps: 12}), progress({onProgress: () => undefined})];
  const whole = compiled();
  const {history: losses} = await whole.fitDataset(batches(), {epochs: 4, verbose: 0, callbacks: callbacks()});
  const handler = new MemoryHandler();
  const first = batches();
  let steps = 0;
  const killed = new tf.CustomCallback({
    onBatchEnd: () => {
      if (++steps === 5) {
        throw new Error('killed'); // in the middle of the second epoch
      }
    },
  });
  const saved = [...callbacks(), checkpoint(handler, {batches: first, everySteps: 1}), killed];
  await compiled()
    .fitDataset(first, {epochs: 4, verbose: 0, callbacks: saved})
    .catch(() => undefined);
  const [model, second] = [compiled(), batches()];
  const at = await resume(model, handler, {batches: second});
  const {history} = await model.fitDataset(second, {epochs: 4, verbose: 0, ...at, callbacks: callbacks()});
  const ends = largestDifference([history.loss as number[]], [losses.loss!.slice(1) as number[]]);
  return Math.max(ends, largestDifference(await valuesOf(model), await valuesOf(whole)));
}

async function sweepLeavesModel(): Promise<number> {
  const model = compiled();
  const {x, y} = data();
  await model.fit(x, y, {batchSize: 6, verbose: 0, shuffle: false});
  const before = await valuesOf(model);
  const {steps} = await findLearningRate(model, x, y, {steps: 12, batchSize: 6});
  if (steps.length < 3) {
    throw new Error('The sweep ended at once.');
  }
  return largestDifference(await valuesOf(model), before);
}
