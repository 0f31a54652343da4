// A process that trains, saves checkpoints, and goes on where an earlier one was killed: `run.ts <place> <mode>`. It
// says how far it is.

import {argv, stdout} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from '../../../src/index';
import {
  accumulate,
  adamW,
  bestAdapter,
  checkpoint,
  learningRateSchedule,
  loraPlus,
  resume,
  seededBatches,
} from '../../../src/node';
import {numbers, random} from '../../helpers';
import {factorsOf, mlp} from '../../models';

const [place, mode] = argv.slice(2) as [string, 'fit' | 'steps'];
const EPOCHS = 12;

async function main(): Promise<void> {
  await tf.setBackend('cpu');
  const {model: base, inputs} = mlp();
  const model = applyLoRA(base, {rank: 2, seed: 1});
  const optimizer = loraPlus(accumulate(adamW({learningRate: 0.02}), 2), {ratio: 4});
  model.compile({optimizer, loss: 'meanSquaredError'});
  const width = inputs[0]!.shape[1]!;
  const [x, y] = [random<tf.Rank.R2>([20, width], 5), random<tf.Rank.R2>([20, 3], 6)];
  const validationData: [tf.Tensor, tf.Tensor] = [random<tf.Rank.R2>([8, width], 7), random<tf.Rank.R2>([8, 3], 8)];
  const batches = seededBatches(x, y, {batchSize: 4, seed: 3});
  const isSeeded = mode === 'steps';
  const options = {
    epochs: EPOCHS,
    verbose: 0 as const,
    validationData,
    ...(await resume(model, place, isSeeded ? {batches} : {})),
    callbacks: [
      checkpoint(place, {...(isSeeded && {everySteps: 3, batches})}),
      learningRateSchedule({warmup: 0.1}),
      bestAdapter(),
      // Killed somewhere in here: a step takes a moment.
      new tf.CustomCallback({
        onBatchEnd: async () => {
          stdout.write('STEP\n');
          await new Promise(resolve => setTimeout(resolve, 3));
        },
      }),
    ],
  };
  stdout.write(`FROM ${options.initialEpoch} ${options.step}\n`);
  await (isSeeded ? model.fitDataset(batches, options) : model.fit(x, y, {...options, batchSize: 4, shuffle: false}));
  stdout.write(`END ${JSON.stringify(factorsOf(model).map(weight => numbers(weight.read())))}\n`);
}

main().catch((error: unknown) => {
  stdout.write(`FAILED ${String(error)}\n`);
});
