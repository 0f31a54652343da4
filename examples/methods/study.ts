import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  type LoRAConfig,
  setAdapter,
  toSafetensors,
  trainableVariables,
} from 'tfjs-lora';
import {type Digits, loadDigits, styled} from '../shared/digits';
import {accuracy, network, train} from '../shared/network';

/** The amounts of data, and the epochs. */
export interface Scale {
  /** Digits of each kind to train on, and to test on. */
  train: number;
  test: number;
  epochs: number;
  seeds: readonly number[];
}

export const FULL: Scale = {train: 200, test: 100, epochs: 8, seeds: [1, 2, 3]};
export const QUICK: Scale = {train: 50, test: 30, epochs: 4, seeds: [1]};

/**
 * A method and its learning rate, the best of 4e-3, 8e-3, 16e-3, 32e-3, and 64e-3 with another seed.
 */
export interface Way {
  name: string;
  config: LoRAConfig;
  rate: number;
}

/** Each trains about 2,500 parameters, or fewer if the method has no more. */
export const WAYS: readonly Way[] = [
  {name: 'LoRA', config: {rank: 4}, rate: 8e-3},
  {name: 'LoRA, dropout 0.1', config: {rank: 4, dropout: 0.1}, rate: 16e-3},
  {name: 'DoRA', config: {rank: 4, method: 'dora'}, rate: 8e-3},
  {
    name: 'LoRA-FA',
    config: {rank: 44, method: 'lora-fa', overrides: [{targets: [layer => layer.countParams() < 1500], rank: 8}]},
    rate: 16e-3,
  },
  {name: 'PiSSA', config: {rank: 4, init: 'pissa'}, rate: 16e-3},
  {name: 'OLoRA', config: {rank: 4, init: 'olora'}, rate: 8e-3},
  {name: 'IA³', config: {method: 'ia3'}, rate: 64e-3},
  {name: 'VeRA', config: {rank: 600, method: 'vera'}, rate: 64e-3},
  {name: 'LoHa', config: {rank: 2, method: 'loha'}, rate: 32e-3},
  {name: 'LoKr', config: {rank: 8, method: 'lokr'}, rate: 32e-3},
];

/** The result of a method. */
export interface Row {
  name: string;
  /** Accuracy in percent: the mean over the seeds, and the largest minus the smallest. */
  mean: number;
  spread: number;
  parameters: number;
  /** Of one step, measured in turn with the others. */
  milliseconds: number;
  /** The most bytes of tensors in one step, less those that were there before. */
  peakBytes: number;
  /** Of the adapter's file. */
  fileBytes: number;
}

/** A base that knows plain digits, and digits rotated by 90° to adapt it to. */
interface Task {
  base: tf.LayersModel;
  rotated: Digits;
  held: Digits;
}

async function makeTask(seed: number, {train: count, test, epochs}: Scale): Promise<Task> {
  const plain = loadDigits(0, count);
  const base = network(100 * seed);
  await train(base, plain, {rate: 2e-3, epochs});
  const held = loadDigits(count, test);
  const task = {base, rotated: styled(plain, 'rotated'), held: styled(held, 'rotated')};
  tf.dispose([plain.images, held.images]); // the labels are those of the rotated digits too
  return task;
}

function dispose({base, rotated, held}: Task): void {
  disposeModel(base);
  tf.dispose([{...rotated}, {...held}]);
}

/** Adapts the base, and gives the adapter and how many digits are recognised with it. */
async function adapt(
  {base, rotated, held}: Task,
  {config, rate}: Pick<Way, 'config' | 'rate'>,
  seed: number,
  epochs: number,
): Promise<{adapter: Adapter; percent: number; parameters: number}> {
  const model = applyLoRA(base, {targets: ['Conv2D', 'Dense'], seed, ...config});
  await train(model, rotated, {rate, epochs});
  const [adapter, percent] = [getAdapter(model), accuracy(model, held)];
  const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
  disposeModel(model);
  return {adapter, percent, parameters};
}

/** Compares the methods on one task. */
export async function study(scale: Scale, log: (line: string) => void = () => undefined): Promise<Row[]> {
  const tasks: Task[] = [];
  for (const seed of scale.seeds) {
    tasks.push(await makeTask(seed, scale));
  }
  const before = tasks.map(({base, held}) => accuracy(base, held));
  log(`base: ${mean(before).toFixed(1)} % accuracy on rotated digits`);
  const rows: Row[] = [];
  const costs = await costsOf(tasks[0] as Task, scale);
  for (const [i, way] of WAYS.entries()) {
    const percents: number[] = [];
    let [parameters, fileBytes] = [0, 0];
    for (const [k, task] of tasks.entries()) {
      const result = await adapt(task, way, scale.seeds[k] ?? 1, scale.epochs);
      percents.push(result.percent);
      parameters = result.parameters;
      fileBytes = (await toSafetensors(result.adapter)).length;
      result.adapter.dispose();
    }
    const row = {name: way.name, mean: mean(percents), spread: spread(percents), parameters, fileBytes};
    rows.push({...row, ...(costs[i] as Costs)});
    log(`${way.name}: ${row.mean.toFixed(1)} %`);
  }
  tasks.forEach(dispose);
  return rows;
}

/**
 * Trains with rank 8, and compresses to the size of rank 4: with the same rank for all layers, or with the best rank of
 * each.
 */
export async function cut(scale: Scale): Promise<{name: string; mean: number; spread: number; parameters: number}[]> {
  const [lora] = WAYS as [Way];
  const percents: Record<string, number[]> = {
    'rank 8': [],
    'all layers at rank 4': [],
    'ranks by a budget': [],
  };
  const parameters: Record<string, number> = {};
  for (const seed of scale.seeds) {
    const task = await makeTask(seed, scale);
    const {adapter} = await adapt(task, {...lora, config: {rank: 8}}, seed, scale.epochs);
    const uniform = await combineAdapters(adapter, {rank: 4});
    const best = await combineAdapters(adapter, {budget: sizeOf(uniform)});
    const model = applyLoRA(task.base, adapter);
    for (const [name, each] of Object.entries({
      'rank 8': adapter,
      'all layers at rank 4': uniform,
      'ranks by a budget': best,
    })) {
      setAdapter(model, each);
      percents[name]?.push(accuracy(model, task.held));
      parameters[name] = sizeOf(each);
      each.dispose();
    }
    disposeModel(model);
    dispose(task);
  }
  return Object.entries(percents).map(([name, values]) => {
    return {name, mean: mean(values), spread: spread(values), parameters: parameters[name] ?? 0};
  });
}

interface Costs {
  milliseconds: number;
  peakBytes: number;
}

/**
 * The cost of a step of each method. They are measured in turn, so that other programs affect all of them alike.
 */
async function costsOf({base, rotated}: Task, {epochs}: Scale): Promise<Costs[]> {
  const x = tf.slice(rotated.images, 0, 50);
  const y = tf.slice(rotated.labels, 0, 50);
  const models = WAYS.map(({config}) => applyLoRA(base, {targets: ['Conv2D', 'Dense'], ...config}));
  const costs: Costs[] = [];
  const optimizer = tf.train.sgd(1e-3);
  for (const model of models) {
    model.compile({optimizer, loss: 'categoricalCrossentropy'});
    await model.trainOnBatch(x, y);
    const {numBytes} = tf.memory();
    const {peakBytes} = await tf.profile(async () => {
      await model.trainOnBatch(x, y);
      return [];
    });
    costs.push({milliseconds: 0, peakBytes: peakBytes - numBytes});
  }
  const times = models.map((): number[] => []);
  for (let round = 0; round < 3 * epochs; round++) {
    for (const [i, model] of models.entries()) {
      const start = performance.now();
      await model.trainOnBatch(x, y);
      times[i]?.push(performance.now() - start);
    }
  }
  models.forEach(disposeModel);
  optimizer.dispose();
  tf.dispose([x, y]);
  return costs.map((cost, i) => ({...cost, milliseconds: median(times[i] ?? [])}));
}

function sizeOf({tensors}: Adapter): number {
  return Object.values(tensors).reduce((sum, {size}) => sum + size, 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function spread(values: readonly number[]): number {
  return Math.max(...values) - Math.min(...values);
}

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
