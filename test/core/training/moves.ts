// A process that moves trainings between all backends of Node, tfjs-node's among them, and says how far each is off one
// that stays.

import {stdout} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA} from '../../../src/index';
import {accumulate, adam, loraPlus, moveTo} from '../../../src/node';
import {numbers, random} from '../../helpers';
import {cnn, factorsOf} from '../../models';

const BACKENDS = ['cpu', 'wasm', 'tensorflow'];
const OPTIMIZERS = {
  sgd: () => tf.train.sgd(0.05),
  adam: () => tf.train.adam(0.01, 0.9, 0.999, 1e-7),
  nested: () => loraPlus(accumulate(adam({learningRate: 0.01, epsilon: 1e-7}), 2)),
};

/** The factors after three steps on one backend and three on another. */
async function train(optimizer: tf.Optimizer, from: string, to: string): Promise<number[]> {
  await tf.setBackend(from);
  const model = applyLoRA(cnn().model, {rank: 2, targets: ['conv', 'head'], seed: 1});
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  const x = random<tf.Rank.R4>([6, 6, 6, 2], 5);
  const y = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32'), 3);
  const fit = () => model.fit(x, y, {epochs: 1, batchSize: 2, shuffle: false, verbose: 0});
  await fit();
  await moveTo([model, x, y], to);
  await fit();
  return factorsOf(model).flatMap(weight => numbers(weight.read()));
}

async function main(): Promise<void> {
  // A variable: the compiler does not look for a package that not every machine has.
  const tfjsNode = '@tensorflow/tfjs-node';
  await import(tfjsNode);
  for (const [name, make] of Object.entries(OPTIMIZERS)) {
    for (const from of BACKENDS) {
      const expected = await train(make(), from, from);
      for (const to of BACKENDS.filter(other => other !== from)) {
        const actual = await train(make(), from, to);
        const deviation = Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!)));
        stdout.write(`MOVE ${JSON.stringify({name, from, to, deviation})}\n`);
      }
    }
  }
}

main().catch((error: unknown) => {
  stdout.write(`FAILED ${String(error)}\n`);
});
