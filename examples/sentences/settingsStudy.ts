/**
 * Measures settings of LoRA for a sentence encoder: rate, epochs and rank for classification, and rate, batch, scale and
 * rank for embeddings; two tasks, two amounts of data, and three seeds of each. Each run is added to study.json when it
 * ends, so the study goes on where it was stopped. It takes an hour.
 *
 *     npm run study -- sentence-settings             all runs that study.json does not have
 *     npm run study -- sentence-settings --seed 1    only those of a seed
 *     npm run study -- sentence-settings --table     what study.json has
 */
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, fitOnFeatures, startWasm} from 'tfjs-lora';
import {embed, encodeExamples, encodePairs, loadTransformer, type TextPair} from 'tfjs-lora/transformers';
import {mails, minilm} from '../../scripts/pretrained';
import {shuffled} from '../shared/random';
import {mean, overSeeds, table} from '../shared/report';
import {readRuns, writeRuns} from '../shared/runs';
import {accuracyOf, classifier, ENCODED, LORA} from './classifier';
import {makePairs, makeTasks, type Task} from './mails';

/** What a run gave: the share of held-out texts that are right. */
interface Run {
  task: string;
  /** How many examples or pairs it trained on. */
  examples: number;
  setting: string;
  seed: number;
  share: number;
  /** Of processor time. */
  seconds: number;
}
type Plan = Pick<Run, 'task' | 'examples' | 'setting' | 'seed'>;

interface Settings {
  rate: number;
  rank: number;
  /** Of the epochs by the amount of data. */
  times: number;
  batch: number;
  scale: number;
}

const SEEDS = [1, 2, 3];
/** Epochs by the number of examples, so that each amount takes as many steps or half as many. */
const EPOCHS: Readonly<Record<number, number>> = {32: 8, 256: 2};
const HEAD = 'head alone';
const BASE = 'not trained';
const CLASSIFICATION: Readonly<Record<string, Partial<Settings>>> = {
  [HEAD]: {rate: 1e-2},
  'rate 5e-4': {rate: 5e-4},
  'rate 2e-3': {},
  'rate 5e-3': {rate: 5e-3},
  'rate 2e-3, twice the epochs': {times: 2},
  'rate 2e-3, rank 2': {rank: 2},
  'rate 2e-3, rank 32': {rank: 32},
};
const EMBEDDINGS: Readonly<Record<string, Partial<Settings>>> = {
  [BASE]: {times: 0},
  'rate 2e-4': {rate: 2e-4},
  'rate 1e-3': {rate: 1e-3},
  'rate 3e-3': {rate: 3e-3},
  'rate 1e-3, twice the epochs': {rate: 1e-3, times: 2},
  'rate 1e-3, batches of 32': {rate: 1e-3, batch: 32},
  'rate 1e-3, scale 10': {rate: 1e-3, scale: 10},
  'rate 1e-3, rank 2': {rate: 1e-3, rank: 2},
};
/** Texts of pairs are truncated to as many tokens. */
const MAX_LENGTH = 32;

const {values: only} = parseArgs({options: {seed: {type: 'string'}, table: {type: 'boolean'}}});
const runs = readRuns<Run>(import.meta.url);
const folder = mails();
const {list, newsletter} = makeTasks(folder, {train: 256, test: 320});
const tasks: Readonly<Record<string, Task>> = {list, newsletter};
const pairTasks = makePairs(folder, {train: 256, test: 200});
const planned = SEEDS.flatMap(seed =>
  [...Object.keys(tasks), ...Object.keys(pairTasks)].flatMap(task =>
    Object.keys(EPOCHS)
      .map(Number)
      .flatMap(examples => Object.keys(settingsOf(task)).map(setting => ({task, examples, setting, seed}))),
  ),
).filter(plan => only.seed === undefined || plan.seed === Number(only.seed));

if (only.table !== true) {
  await startWasm();
  tf.enableProdMode();
  const encoder = await minilm();
  for (const plan of planned) {
    const isSame = (run: Run) => (Object.keys(plan) as (keyof Plan)[]).every(key => run[key] === plan[key]);
    if (runs.some(isSame)) {
      continue;
    }
    const begin = process.cpuUsage();
    const share = await (plan.task in tasks ? classified : found)(encoder, plan);
    const {user, system} = process.cpuUsage(begin);
    runs.push({...plan, share, seconds: Math.round((user + system) / 1e6)});
    writeRuns(import.meta.url, runs);
    console.log(Object.values(runs.at(-1)!).join('  '));
  }
}
for (const task of [...Object.keys(tasks), ...Object.keys(pairTasks)]) {
  const counts = Object.keys(EPOCHS).map(Number);
  const rows = Object.keys(settingsOf(task)).map(setting => [
    setting,
    ...counts.flatMap(examples => {
      const same = runs.filter(run => run.task === task && run.examples === examples && run.setting === setting);
      return same.length === 0
        ? ['', '']
        : [overSeeds(same.map(({share}) => share))[0], mean(same.map(({seconds}) => seconds)).toFixed(0)];
    }),
  ]);
  console.log(`\n${table([[task, ...counts.flatMap(count => [`${count} examples`, 'CPU, s'])], ...rows])}`);
}

function settingsOf(task: string): Readonly<Record<string, Partial<Settings>>> {
  return task in tasks ? CLASSIFICATION : EMBEDDINGS;
}

/** The accuracy on held-out subject lines. */
async function classified(encoder: Awaited<ReturnType<typeof minilm>>, plan: Plan): Promise<number> {
  const {train, test, classes} = tasks[plan.task]!;
  const {rate = 2e-3, rank = 8, times = 1} = CLASSIFICATION[plan.setting]!;
  const isHead = plan.setting === HEAD;
  const base = await classifier(encoder, classes.length, plan.seed);
  const {trainInFull} = LORA;
  const model = applyLoRA(base, {...(isHead ? {targets: 'head', trainInFull} : {...LORA, rank}), seed: plan.seed});
  compileModel(model, {optimizer: adam({learningRate: rate}), metrics: ['accuracy']});
  const chosen = shuffled(train, plan.seed).slice(0, plan.examples);
  const data = await encodeExamples(model, encoder.tokenizer, chosen, {...ENCODED, seed: plan.seed});
  await (isHead
    ? fitOnFeatures(model, data, {epochs: 40, verbose: 0})
    : model.fitDataset(data, {epochs: EPOCHS[plan.examples]! * times, verbose: 0}));
  const accuracy = await accuracyOf(model, encoder, test);
  new Set([model, base]).forEach(disposeModel);
  return accuracy;
}

/** The share of held-out anchors whose own text is the most similar of all. */
async function found(encoder: Awaited<ReturnType<typeof minilm>>, plan: Plan): Promise<number> {
  const {train, test} = pairTasks[plan.task as keyof typeof pairTasks];
  const {rate = 1e-3, rank = 8, times = 1, batch = 16, scale = 20} = EMBEDDINGS[plan.setting]!;
  const {config, weights} = encoder;
  const {model: base} = await loadTransformer({config, weights, pooling: 'mean', tokenizer: false});
  const model = applyLoRA(base, {rank, ...(LORA.targets && {targets: LORA.targets}), seed: plan.seed});
  if (times > 0) {
    compileModel(model, {loss: 'ranking', scale, optimizer: adam({learningRate: rate})});
    const chosen = shuffled(train, plan.seed).slice(0, plan.examples);
    const options = {maxLength: MAX_LENGTH, batchSize: batch, seed: plan.seed};
    const data = await encodePairs(model, encoder.tokenizer, chosen, options);
    await model.fitDataset(data, {epochs: EPOCHS[plan.examples]! * times, verbose: 0});
  }
  const vectors = async (textOf: (pair: TextPair) => string) =>
    embed(model, encoder.tokenizer, test.map(textOf), {maxLength: MAX_LENGTH});
  const [anchors, positives] = [await vectors(({anchor}) => anchor), await vectors(({positive}) => positive)];
  const nearest = tf.tidy(() => tf.argMax(tf.matMul(anchors, positives, false, true), 1).dataSync());
  tf.dispose([anchors, positives]);
  new Set([model, base]).forEach(disposeModel);
  return nearest.filter((place, i) => place === i).length / test.length;
}
