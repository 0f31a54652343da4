/**
 * Compares the update methods on one task, with about 2,500 parameters each: a small digit reader learns digits that are
 * rotated by 90°. Then compares ways to halve a trained adapter. `--quick` trains one seed, for a shorter time.
 *
 *     npm run bench -- methods [--quick]
 */
import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  type LoRAConfig,
  setAdapter,
  startWasm,
  toSafetensors,
  trainableVariables,
} from 'tfjs-lora';
import {type Digits, loadDigits, styled} from '../examples/shared/digits';
import {accuracy, network, train} from '../examples/shared/network';
import {mean} from '../examples/shared/report';
import {summarize} from './measure';
import {printTable} from './table';

const IS_QUICK = process.argv.includes('--quick');
/** Digits of each kind to train on and to test on. */
const [TRAINING, HELD_OUT, EPOCHS, SEEDS] = IS_QUICK ? [50, 30, 4, [1]] : [200, 100, 8, [1, 2, 3]];

/** Each method with its learning rate, the best of 4e-3, 8e-3, 16e-3, 32e-3, and 64e-3 with another seed. */
const METHODS: Readonly<Record<string, [config: LoRAConfig, rate: number]>> = {
  LoRA: [{rank: 4}, 8e-3],
  'LoRA, dropout 0.1': [{rank: 4, dropout: 0.1}, 16e-3],
  DoRA: [{rank: 4, method: 'dora'}, 8e-3],
  'LoRA-FA': [
    {rank: 44, method: 'lora-fa', overrides: [{targets: [layer => layer.countParams() < 1500], rank: 8}]},
    16e-3,
  ],
  PiSSA: [{rank: 4, init: 'pissa'}, 16e-3],
  OLoRA: [{rank: 4, init: 'olora'}, 8e-3],
  'IA³': [{method: 'ia3'}, 64e-3],
  VeRA: [{rank: 600, method: 'vera'}, 64e-3],
  LoHa: [{rank: 2, method: 'loha'}, 32e-3],
  LoKr: [{rank: 8, method: 'lokr'}, 32e-3],
};

/** A base that knows plain digits, and rotated ones to adapt it to. */
interface Task {
  seed: number;
  base: tf.LayersModel;
  rotated: Digits;
  heldOut: Digits;
}

await startWasm();
const tasks: Task[] = [];
for (const seed of SEEDS) {
  const plain = loadDigits(0, TRAINING);
  const base = network(100 * seed);
  await train(base, plain, {rate: 2e-3, epochs: EPOCHS});
  tasks.push({
    ...{seed, base},
    rotated: styled(plain, 'rotated'),
    heldOut: styled(loadDigits(TRAINING, HELD_OUT), 'rotated'),
  });
}
const spread = (values: readonly number[]) => (Math.max(...values) - Math.min(...values)).toFixed(1);
const before = tasks.map(({base, heldOut}) => accuracy(base, heldOut));
console.log(`base: ${mean(before).toFixed(1)} % of rotated digits; means over ${SEEDS.length} seeds\n`);

const costs = await costsOf(tasks[0]!);
const rows: string[][] = [];
for (const [i, [name, [config, rate]]] of Object.entries(METHODS).entries()) {
  const percents: number[] = [];
  let sizes: string[] = [];
  for (const task of tasks) {
    const {adapter, percent, parameters} = await adapt(task, config, rate);
    percents.push(percent);
    sizes = [String(parameters), ((await toSafetensors(adapter)).length / 1000).toFixed(1)];
    adapter.dispose();
  }
  rows.push([name, mean(percents).toFixed(1), spread(percents), ...sizes, ...costs[i]!]);
}
printTable(['method', 'accuracy, %', 'spread', 'parameters', 'file, kB', 'peak, MB', 'ms per step'], rows);

/** Rank 8, and the same adapter at the size of rank 4: with one rank for all layers, or the best rank of each. */
const cut: Record<string, {percents: number[]; parameters: number}> = {};
for (const task of tasks) {
  const {adapter} = await adapt(task, {rank: 8}, 8e-3);
  const uniform = await combineAdapters(adapter, {rank: 4});
  const best = await combineAdapters(adapter, {budget: sizeOf(uniform)});
  const model = applyLoRA(task.base, adapter);
  const adapters = {'rank 8': adapter, 'all layers at rank 4': uniform, 'ranks by a budget': best};
  for (const [name, value] of Object.entries(adapters)) {
    setAdapter(model, value);
    const {percents} = (cut[name] ??= {percents: [], parameters: sizeOf(value)});
    percents.push(accuracy(model, task.heldOut));
    value.dispose();
  }
  disposeModel(model);
}
console.log('\nLoRA of rank 8, compressed after training\n');
printTable(
  ['adapter', 'accuracy, %', 'spread', 'parameters'],
  Object.entries(cut).map(([name, {percents, parameters}]) => [
    ...[name, mean(percents).toFixed(1)],
    ...[spread(percents), String(parameters)],
  ]),
);

async function adapt(
  {seed, base, rotated, heldOut}: Task,
  config: LoRAConfig,
  rate: number,
): Promise<{adapter: Adapter; percent: number; parameters: number}> {
  const model = applyLoRA(base, {targets: ['Conv2D', 'Dense'], seed, ...config});
  await train(model, rotated, {rate, epochs: EPOCHS});
  const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
  const result = {adapter: getAdapter(model), percent: accuracy(model, heldOut), parameters};
  disposeModel(model);
  return result;
}

/** The most memory and the median time of a step of each method. The methods take turns, as others use the machine. */
async function costsOf({base, rotated}: Task): Promise<[megabytes: string, milliseconds: string][]> {
  const [x, y] = [tf.slice(rotated.images, 0, 50), tf.slice(rotated.labels, 0, 50)];
  const models = Object.values(METHODS).map(([config]) => applyLoRA(base, {targets: ['Conv2D', 'Dense'], ...config}));
  const optimizer = tf.train.sgd(1e-3);
  const megabytes: string[] = [];
  for (const model of models) {
    model.compile({optimizer, loss: 'categoricalCrossentropy'});
    await model.trainOnBatch(x, y);
    const {numBytes} = tf.memory();
    const {peakBytes} = await tf.profile(async () => {
      await model.trainOnBatch(x, y);
      return [];
    });
    megabytes.push(((peakBytes - numBytes) / 1e6).toFixed(2));
  }
  const times = models.map((): number[] => []);
  for (let round = 0; round < 3 * EPOCHS; round++) {
    for (const [i, model] of models.entries()) {
      const begin = performance.now();
      await model.trainOnBatch(x, y);
      times[i]!.push(performance.now() - begin);
    }
  }
  models.forEach(disposeModel);
  tf.dispose([x, y]);
  return times.map((all, i) => [megabytes[i]!, summarize(all)!.median.toFixed(1)]);
}

function sizeOf({tensors}: Adapter): number {
  return Object.values(tensors).reduce((sum, {size}) => sum + size, 0);
}
