import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, seededBatches} from 'tfjs-lora';
import {identityOfBase, identityOfExamples} from '../../../src/core/training/runIdentity';
import type {SeededDataset} from '../../../src/core/training/seededBatches';

// Checkpoints have these texts, and a run that computes others is refused. Expected are those of a program in Python that
// follows the formula: FNV-1a from two starts, of `float32[shape]` and the bytes of each tensor.

test('examples are read 64 at a time, and their checksums are joined', async () => {
  const x = tf.range(0, 100).reshape([100, 1]);
  const y = tf.div(x, 2);
  const batches = seededBatches(x, y, {batchSize: 8, seed: 1}) as SeededDataset;
  expect(await identityOfExamples(batches)).toBe('100 examples (4ef24ba8-6f62d60d)');
  tf.dispose([x, y]);
});

test.each([
  {values: 'every second of 512', inputs: 16, units: 32, identity: '1 weights (fb7f399f-198086b3)'},
  {values: 'each of 511', inputs: 73, units: 7, identity: '1 weights (8222b7de-74bbd89a)'},
])('a frozen weight has some 256 values in the checksum of a base: $values', async ({inputs, units, identity}) => {
  const layer = tf.layers.dense({units, inputDim: inputs, useBias: false});
  const base = tf.sequential({layers: [layer]});
  tf.tidy(() => {
    layer.setWeights([
      tf
        .range(0, inputs * units)
        .div(8)
        .reshape([inputs, units]),
    ]);
  });
  const model = applyLoRA(base, {rank: 2, seed: 1});
  expect(await identityOfBase(model)).toBe(identity);
  [model, base].forEach(disposeModel);
});
