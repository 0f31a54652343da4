import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {adam, bestAdapter, checkpoint, type CheckpointOptions, resume, seededBatches, sgd, stopOnNaN} from 'tfjs-lora';
import type {SeededDataset} from '../../../src/core/training/seededBatches';
import {numbers, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {setting} from './setting';

/** Places in memory, and the number of each save in order, with the epoch, batch and step that it holds. */
function memory() {
  const slots = new Map<number, MemoryHandler>();
  const saved: {slot: number; number: number; epoch: number; batch: number; step: number}[] = [];
  const loaded: number[] = [];
  const place = (slot: number): tf.io.IOHandler => {
    const handler = slots.get(slot) ?? new MemoryHandler();
    slots.set(slot, handler);
    return {
      load: () => {
        loaded.push(slot);
        return handler.json === '' ? Promise.reject(new Error('nothing here')) : handler.load();
      },
      save: async artifacts => {
        const result = await handler.save(artifacts);
        const {state} = artifacts.modelTopology as unknown as {state: string};
        const {number, epoch, batch, step} = JSON.parse(state) as (typeof saved)[number];
        saved.push({slot, number, epoch, batch, step});
        return result;
      },
    };
  };
  return {place, saved, loaded};
}

/** Trains on 12 examples in batches of 5, 5 and 2. The history, and how many tensors there are in the last step. */
async function run(callbacks: tf.Callback[] = [], epochs = 2) {
  const {model, x, y, dispose} = setting(sgd({learningRate: 0.05}));
  const before = tf.memory().numTensors;
  let tensors = 0;
  const count = new tf.CustomCallback({onBatchEnd: () => void (tensors = tf.memory().numTensors - before)});
  const options = {epochs, batchSize: 5, shuffle: false, verbose: 0} as const;
  const {history} = await model.fit(x, y, {...options, callbacks: [...callbacks, count]});
  dispose();
  return {history, tensors};
}

test('checkpoints change neither the logged means nor the tensors of a fit', async () => {
  const plain = await run();
  const {place} = memory();
  const saving = await run([checkpoint(place)]);
  const after = await run();
  expect(saving.history).toEqual(plain.history);
  expect(after).toEqual(plain);
});

test('a checkpoint is of version 1, which every version of the library reads', async () => {
  const handler = new MemoryHandler();
  await run([checkpoint(handler)]);
  expect(handler.artifacts.modelTopology).toMatchObject({class_name: 'LoRACheckpoint', version: 1});
});

test('checkpoints are saved at the epochs and steps that are due, and after the last epoch', async () => {
  const savedBy = async (options: CheckpointOptions, epochs: number) => {
    const {place, saved} = memory();
    await run([checkpoint(place, options)], epochs);
    return saved.map(({slot, number, epoch, batch, step}) => [slot, number, epoch, batch, step]);
  };
  expect(await savedBy({everyEpochs: 2, keep: 3}, 5)).toEqual([
    [0, 0, 2, 0, 6],
    [1, 1, 4, 0, 12],
    [2, 2, 5, 0, 15],
  ]);
  expect(await savedBy({everySteps: 4}, 3)).toEqual([
    [0, 0, 1, 1, 4],
    [1, 1, 2, 2, 8],
    [0, 2, 3, 0, 9],
  ]);
  expect(await savedBy({}, 2)).toEqual([
    [0, 0, 1, 0, 3],
    [1, 1, 2, 0, 6],
  ]);
});

test('a run that begins anew at the place of an earlier one is the later of the two', async () => {
  const {place, saved, loaded} = memory();
  await run([checkpoint(place)], 3);
  expect(loaded).toEqual([0, 1]); // once in a run
  await run([checkpoint(place)], 1);
  expect(saved.map(({number}) => number)).toEqual([0, 1, 2, 3]);
  const {model, dispose} = setting(sgd({learningRate: 0.05}));
  expect(await resume(model, place)).toEqual({initialEpoch: 1, step: 3, passedOver: []});
  dispose();
});

test('an optimizer that has trained already goes on with the state of the checkpoint', async () => {
  const options = {batchSize: 4, shuffle: false, verbose: 0} as const;
  const [whole, first, second] = [1, 2, 3].map(() => setting(adam({learningRate: 0.05})));
  const handler = new MemoryHandler();
  await whole!.model.fit(whole!.x, whole!.y, {...options, epochs: 4});
  await first!.model.fit(first!.x, first!.y, {...options, epochs: 2, callbacks: [checkpoint(handler)]});
  await second!.model.fit(second!.x, second!.y, {...options, epochs: 3});
  const before = tf.memory().numTensors;
  const at = await resume(second!.model, handler);
  expect(tf.memory().numTensors).toBe(before);
  await second!.model.fit(second!.x, second!.y, {...options, epochs: 4, ...at});
  expect(second!.factors()).toEqual(whole!.factors());
  [whole, first, second].forEach(each => each!.dispose());
});

test('the number of a checkpoint comes before the ending of a JSON file, and after any other name', async () => {
  const folder = temporaryFolder();
  await run([checkpoint(join(folder, 'run.json'))]);
  await run([checkpoint(join(folder, 'run'))]);
  expect(readdirSync(folder).filter(name => !name.endsWith('.bin'))).toEqual([
    ...['run-0', 'run-0.json', 'run-1', 'run-1.json'],
  ]);
});

test('a handler that cannot save is refused when the first checkpoint is due', async () => {
  const load = () => Promise.reject(new Error('nothing here'));
  await expect(run([checkpoint({load})])).rejects.toThrow('The handler cannot save: it has no save function.');
});

test('batches have 32 examples by default, and the last one what is left', async () => {
  const xs = tf.range(0, 70);
  const batches = seededBatches(xs, xs, {seed: 1});
  const sizes = (await batches.toArray()).map(batch => (batch.xs as tf.Tensor).size);
  expect(sizes).toEqual([32, 32, 6]);
  expect(batches.size).toBe(3);
});

test('batches start anew at an epoch, from its first batch or another', async () => {
  const xs = tf.range(0, 10);
  const batches = seededBatches(xs, xs, {batchSize: 4, seed: 1}) as SeededDataset;
  const pass = async () => (await batches.toArray()).map(batch => numbers(batch.xs as tf.Tensor));
  const [first, second] = [await pass(), await pass()];
  expect(second).not.toEqual(first);
  batches.startAt(1);
  expect(await pass()).toEqual(second);
  batches.startAt(0, 2);
  expect([await pass(), await pass()]).toEqual([first.slice(2), second]);
  expect(() => batches.startAt(-1)).toThrow('epoch must be ');
  expect(() => batches.startAt(0, 0.5)).toThrow('batch must be ');
});

test('stopOnNaN frees what it holds when bestAdapter ends the fit with an error', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.05}));
  const poison = (_: number, logs?: tf.Logs) => {
    tf.dispose(logs!.loss);
    logs!.loss = NaN;
  };
  const callbacks = [stopOnNaN(), new tf.CustomCallback({onEpochEnd: poison}), bestAdapter({monitor: 'loss'})];
  await withoutLeaks(() =>
    expect(model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks})).rejects.toThrow('NaN'),
  );
});

test('stopOnNaN frees what it held of a fit that ended with the error of another callback', async () => {
  const {model, x, y, dispose} = setting(sgd({learningRate: 0.05}));
  const stop = stopOnNaN();
  const fail = (batch: number) => {
    if (batch === 1) {
      throw new Error('stop');
    }
  };
  const fit = (...callbacks: (tf.Callback | tf.CustomCallback)[]) =>
    model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
  await expect(fit(stop, new tf.CustomCallback({onBatchBegin: fail}))).rejects.toThrow('stop');
  const before = tf.memory().numTensors;
  await fit(stop);
  // The weights before the first step and before the second.
  expect(before - tf.memory().numTensors).toBe(2 * model.trainableWeights.length);
  dispose();
});
