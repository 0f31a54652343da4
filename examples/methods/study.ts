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

/** How much is trained and measured. */
export interface Scale {
  /** Digits of each kind to train on, and to measure with. */
  train: number;
  test: number;
  epochs: number;
  seeds: readonly number[];
}

export const FULL: Scale = {train: 200, test: 100, epochs: 8, seeds: [1, 2, 3]};
export const QUICK: Scale = {train: 50, test: 30, epochs: 4, seeds: [1]};

/**
 * A way to adapt the network, and the learning rate that suits it: the best of 4, 8, 16, 32 and 64 thousandths at a
 * seed that is not measured.
 */
export interface Way {
  name: string;
  config: LoRAConfig;
  rate: number;
}

/** About 2,500 parameters train in each, or as many as the method has if that is less. */
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

/** What came of a way. */
export interface Row {
  name: string;
  /** Digits recognised, in percent: the mean over the seeds, and how far the least and the greatest are apart. */
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

/** A base that knows plain digits, and digits turned by a quarter to adapt it to. */
interface Task {
  base: tf.LayersModel;
  turned: Digits;
  held: Digits;
}

async function makeTask(seed: number, {train: count, test, epochs}: Scale): Promise<Task> {
  const plain = loadDigits(0, count);
  const base = network(100 * seed);
  await train(base, plain, {rate: 2e-3, epochs});
  const held = loadDigits(count, test);
  const task = {base, turned: styled(plain, 'turned'), held: styled(held, 'turned')};
  tf.dispose([plain.images, held.images]); // the labels are those of the turned digits too
  return task;
}

function dispose({base, turned, held}: Task): void {
  disposeModel(base);
  tf.dispose([{...turned}, {...held}]);
}

/** Adapts the base, and gives the adapter and how many digits are recognised with it. */
async function adapt(
  {base, turned, held}: Task,
  {config, rate}: Pick<Way, 'config' | 'rate'>,
  seed: number,
  epochs: number,
): Promise<{adapter: Adapter; percent: number; parameters: number}> {
  const model = applyLoRA(base, {targets: ['Conv2D', 'Dense'], seed, ...config});
  await train(model, turned, {rate, epochs});
  const [adapter, percent] = [getAdapter(model), accuracy(model, held)];
  const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
  disposeModel(model);
  return {adapter, percent, parameters};
}

/** Compares the ways on one task. */
export async function study(scale: Scale, log: (line: string) => void = () => undefined): Promise<Row[]> {
  const tasks: Task[] = [];
  for (const seed of scale.seeds) {
    tasks.push(await makeTask(seed, scale));
  }
  const before = tasks.map(({base, held}) => accuracy(base, held));
  log(`base: ${mean(before).toFixed(1)} % of turned digits`);
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
 * Trains at twice the rank, and cuts to the size of rank 4: the same rank for all layers, or the rank that each makes
 * the most of.
 */
export async function cut(scale: Scale): Promise<{name: string; mean: number; spread: number; parameters: number}[]> {
  const [lora] = WAYS as [Way];
  const percents: Record<string, number[]> = {
    'rank 8, not cut': [],
    'cut to rank 4 each': [],
    'cut to a budget': [],
  };
  const parameters: Record<string, number> = {};
  for (const seed of scale.seeds) {
    const task = await makeTask(seed, scale);
    const {adapter} = await adapt(task, {...lora, config: {rank: 8}}, seed, scale.epochs);
    const uniform = await combineAdapters(adapter, {rank: 4});
    const best = await combineAdapters(adapter, {budget: sizeOf(uniform)});
    const model = applyLoRA(task.base, adapter);
    for (const [name, each] of Object.entries({
      'rank 8, not cut': adapter,
      'cut to rank 4 each': uniform,
      'cut to a budget': best,
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
 * What a step of each way costs, measured in turn, so that whatever else happens on the machine meets them all alike.
 */
async function costsOf({base, turned}: Task, {epochs}: Scale): Promise<Costs[]> {
  const x = tf.slice(turned.images, 0, 50);
  const y = tf.slice(turned.labels, 0, 50);
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
