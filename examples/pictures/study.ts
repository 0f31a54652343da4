/**
 * Measures new heads and LoRA on six tasks of four classes, ten images each, with 320 other images to test: by epochs,
 * depth of targets, rank and rate. Settings are chosen by three tasks, and three others are kept for the report. Each
 * run is added to study.json when it ends, so the study goes on where it was stopped.
 *
 *     npm run study -- pictures                          all runs that study.json does not have
 *     npm run study -- pictures --task faces --seed 1    only those of a task, a seed, or a base
 *     npm run study -- pictures --table                  what study.json has
 */
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  disposeModel,
  learningRateSchedule,
  type LoRAConfig,
  seededBatches,
  startWasm,
} from 'tfjs-lora';
import {type Split, splitAtFirstAdapter} from '../../src/core/model/split';
import {mean, shareRight, table} from '../shared/report';
import {readRuns, writeRuns} from '../shared/runs';
import {type Base, BASES} from './bases';
import {HEAD_EPOCHS, type Plan, PLANS, type Setting} from './settings';
import {type Picture, TASKS, type Task} from './tasks';

/** What a run gave. */
interface Run {
  base: string;
  task: string;
  seed: number;
  setting: string;
  /** The mean training loss of each epoch. */
  loss: number[];
  /** The share of test images that are classified correctly, by the number of epochs. */
  accuracy: Record<number, number>;
  /** Processor time of training, without that of features and tests. */
  seconds: number;
}

type Features = Readonly<Record<string, tf.Tensor>>;

/** Images of a task as the layers before the first one that trains give them. */
interface Material {
  train: Features;
  test: Features;
  labels: tf.Tensor;
  truth: readonly number[];
}

type Course = Pick<Setting, 'epochs' | 'rate' | 'until' | 'decays' | 'at'> & {onEpoch?: (epoch: number) => void};

const [BATCH, TESTED] = [8, 20];
const HEAD = 'head';
/** 97.5 % of Student's t distribution lie below these, for two to six values. */
const STUDENT = [12.71, 4.3, 3.18, 2.78, 2.57];

const {values: only} = parseArgs({
  options: {base: {type: 'string'}, task: {type: 'string'}, seed: {type: 'string'}, table: {type: 'boolean'}},
});
const runs = readRuns<Run>(import.meta.url);

if (only.table === true) {
  console.log(summary());
} else {
  await startWasm();
  tf.enableProdMode();
  for (const plan of PLANS.filter(({base}) => (only.base ?? base) === base)) {
    for (const [name, task] of Object.entries<Task>(TASKS[plan.part])) {
      if ((only.task ?? name) === name) {
        await runTask(plan, name, task);
      }
    }
  }
  console.log(`\n${summary()}`);
}

/** The runs of a task, which share the features of its test images. */
async function runTask({base: baseName, seeds, settings}: Plan, name: string, task: Task): Promise<void> {
  const missing = seeds
    .filter(seed => Number(only.seed ?? seed) === seed)
    .map(seed => {
      const key = {base: baseName, task: name, seed};
      const isThere = (setting: string) => runs.some(run => isSame(run, key) && run.setting === setting);
      return {key, settings: [HEAD, ...Object.keys(settings)].filter(setting => !isThere(setting))};
    })
    .filter(({settings: some}) => some.length > 0);
  if (missing.length === 0) {
    return;
  }
  const base = await BASES[baseName]!(task.classes.length);
  const used = new Set(missing.flatMap(({settings: some}) => some));
  const configs = Object.entries(settings).flatMap(([setting, {firstBlock}]) =>
    used.has(setting) ? [base.targets(firstBlock)] : [],
  );
  const body = bodyOf(base, [headOnly(base), ...configs]);
  const images = await task.open();
  const test = await featuresOf(base, body, images.test);
  const truth = images.test.map(({label}) => label);
  for (const {key, settings: some} of missing) {
    const pictures = images.train(key.seed);
    const features = await featuresOf(base, body, pictures);
    const material = {train: features, labels: base.labels(pictures), test, truth};
    await runSeed(base, key, material, Object.fromEntries(some.map(setting => [setting, settings[setting]])));
    tf.dispose([material.train, material.labels]);
  }
  tf.dispose(test);
  disposeModel(base.model);
}

/** Runs the settings of a seed. LoRA goes on from the head, which is trained in any case. */
async function runSeed(
  base: Base,
  key: Pick<Run, 'base' | 'task' | 'seed'>,
  material: Material,
  settings: Readonly<Record<string, Setting | undefined>>,
): Promise<void> {
  const {seed} = key;
  const add = (setting: string, result: Pick<Run, 'loss' | 'accuracy' | 'seconds'>) => {
    const run = {...key, setting, ...result};
    runs.push(run);
    writeRuns(import.meta.url, runs);
    console.log(`${Object.values(key).join(' ')}, ${setting}: ${accuracies(run)}, ${result.seconds} s`);
  };
  const heads = new Map<number, tf.Tensor[]>();
  const probe = applyLoRA(base.model, headOnly(base));
  const fresh = base.freshHead(seed);
  setHead(probe, base, fresh);
  tf.dispose(fresh);
  const onEpoch = (epoch: number) => {
    if (HEAD_EPOCHS.includes(epoch)) {
      const weights = headOf(probe, base).map(weight => tf.keep(tf.clone(weight.read())));
      heads.set(epoch, weights);
    }
  };
  const course = {epochs: Math.max(...HEAD_EPOCHS), rate: 3e-3, at: HEAD_EPOCHS, onEpoch};
  const headResult = await train(base, probe, material, course, seed);
  disposeModel(probe);
  for (const [name, setting] of Object.entries(settings)) {
    if (setting === undefined) {
      add(HEAD, headResult);
    } else {
      const {firstBlock, rank, headEpochs, ...loraCourse} = setting;
      const model = applyLoRA(base.model, {...base.targets(firstBlock), rank, seed});
      setHead(model, base, heads.get(headEpochs)!);
      add(name, await train(base, model, material, loraCourse, seed));
      disposeModel(model);
    }
  }
  tf.dispose([...heads.values()]);
}

/** The weights of the head that train. */
function headOf(model: tf.LayersModel, {head}: Base): tf.LayerVariable[] {
  return model.getLayer(head).trainableWeights;
}

function setHead(model: tf.LayersModel, base: Base, weights: readonly tf.Tensor[]): void {
  headOf(model, base).forEach((variable, i) => variable.write(weights[i]!));
}

function headOnly({head}: Base): LoRAConfig {
  return {targets: 'head', trainInFull: [head]};
}

/** A model that gives the features wherever a config cuts the base. */
function bodyOf({model: base}: Base, configs: readonly LoRAConfig[]): tf.LayersModel {
  const names = configs.flatMap(config => {
    const model = applyLoRA(base, config);
    const {outputs} = splitAtFirstAdapter(model).prefix;
    disposeModel(model);
    return outputs.map(({sourceLayer}) => sourceLayer.name);
  });
  const outputs = [...new Set(names)].map(name => base.getLayer(name).output as tf.SymbolicTensor);
  return tf.model({inputs: base.inputs, outputs});
}

/** The features of images, by the names of the layers. */
async function featuresOf(base: Base, body: tf.LayersModel, pictures: readonly Picture[]): Promise<Features> {
  const parts: tf.Tensor[][] = [];
  for (let i = 0; i < pictures.length; i += TESTED) {
    const images = await base.encode(pictures.slice(i, i + TESTED));
    parts.push([body.predict(images)].flat());
    images.dispose();
  }
  const names = body.outputs.map(({sourceLayer}) => sourceLayer.name);
  const features = Object.fromEntries(names.map((name, i) => [name, tf.concat(parts.map(part => part[i]!))]));
  tf.dispose(parts);
  return features;
}

/** Trains a model on features, in batches whose order depends only on the seed. */
async function train(
  base: Base,
  model: tf.LayersModel,
  {train: images, test, labels, truth}: Material,
  {epochs, rate, until = 0, decays = false, at = [], onEpoch}: Course,
  seed: number,
): Promise<Pick<Run, 'loss' | 'accuracy' | 'seconds'>> {
  const split = splitAtFirstAdapter(model);
  const {suffix} = split;
  const optimizer = adam({learningRate: rate});
  const accuracy: Record<number, number> = {};
  const loss: number[] = [];
  let [microseconds, begin] = [0, process.cpuUsage()];
  base.compile(suffix, optimizer);
  const onEpochEnd = (index: number, logs?: tf.Logs) => {
    const {user, system} = process.cpuUsage(begin);
    microseconds += user + system;
    const epoch = index + 1;
    loss.push(rounded(logs!.loss as number, 4));
    onEpoch?.(epoch);
    suffix.stopTraining = loss.at(-1)! < until;
    if (at.includes(epoch) || suffix.stopTraining || epoch === epochs) {
      accuracy[epoch] = rounded(shareRight(guessesOf(split, test), truth), 4);
    }
    begin = process.cpuUsage();
  };
  await suffix.fitDataset(seededBatches(inputsOf(split, images), labels, {batchSize: BATCH, seed}), {
    epochs,
    verbose: 0,
    yieldEvery: 'never',
    callbacks: [...(decays ? [learningRateSchedule({warmup: 0.1})] : []), new tf.CustomCallback({onEpochEnd})],
  });
  optimizer.dispose();
  return {loss, accuracy, seconds: rounded(microseconds / 1e6, 1)};
}

function inputsOf({prefix}: Split, features: Features): tf.Tensor[] {
  return prefix.outputs.map(({sourceLayer}) => features[sourceLayer.name]!);
}

/** The most likely class of each image. */
function guessesOf(split: Split, features: Features): Int32Array {
  return tf.tidy(() => {
    const scores = split.suffix.predict(inputsOf(split, features), {batchSize: TESTED}) as tf.Tensor;
    return tf.argMax(scores, 1).dataSync<'int32'>();
  });
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function accuracies({accuracy}: Run): string {
  return Object.entries(accuracy)
    .map(([epoch, share]) => `${epoch}: ${(100 * share).toFixed(1)} %`)
    .join(', ');
}

/** A row for each base and setting: the accuracy on each task, and how far it is above that of the best head. */
function summary(): string {
  const tasks = Object.values(TASKS).flatMap(part => Object.keys(part));
  const ways = [...new Map(runs.map(run => [`${run.base}, ${run.setting}`, run])).entries()];
  const rows = ways.map(([name, {base, setting}]) => {
    const cells = tasks.map(task => {
      const done = runs.filter(run => run.base === base && run.setting === setting && run.task === task);
      const heads = done.map(({seed}) => runs.find(run => isHead(run) && isSame(run, {base, task, seed}))!);
      if (done.length === 0) {
        return '–';
      }
      const best = bestEpoch(heads);
      const shares = done.map(run => (isHead(run) ? run.accuracy[best]! : lastAccuracy(run)));
      const gains = shares.map((share, i) => share - heads[i]!.accuracy[best]!);
      return setting === HEAD
        ? `${withInterval(shares)} at ${best}`
        : `${withInterval(shares)}, ${withInterval(gains)}`;
    });
    const seconds = mean(runs.filter(run => run.base === base && run.setting === setting).map(run => run.seconds));
    return [name, ...cells, seconds.toFixed(0)];
  });
  return table([['', ...tasks, 'CPU, s'], ...rows]);
}

function isHead({setting}: Run): boolean {
  return setting === HEAD;
}

function isSame(run: Run, key: Pick<Run, 'base' | 'task' | 'seed'>): boolean {
  return run.base === key.base && run.task === key.task && run.seed === key.seed;
}

/** The epoch at which heads classify most of the test images: what no one knows beforehand. */
function bestEpoch(heads: readonly Run[]): number {
  const shareAt = (epoch: number) => mean(heads.map(({accuracy}) => accuracy[epoch]!));
  return HEAD_EPOCHS.reduce((best, epoch) => (shareAt(epoch) > shareAt(best) ? epoch : best));
}

function lastAccuracy({accuracy}: Run): number {
  return Object.values(accuracy).at(-1)!; // in the order of the epochs
}

/** The mean of shares in percent, with its 95 % interval. */
function withInterval(shares: readonly number[]): string {
  const middle = mean(shares);
  const count = shares.length;
  const deviation = Math.sqrt(shares.reduce((sum, share) => sum + (share - middle) ** 2, 0) / (count - 1));
  const interval = count === 1 ? '' : ` ± ${((100 * STUDENT[count - 2]! * deviation) / Math.sqrt(count)).toFixed(1)}`;
  return `${(100 * middle).toFixed(1)}${interval}`;
}
