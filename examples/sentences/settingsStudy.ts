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
import {type Plan, runSettings, settingTables} from '../shared/settings';
import {accuracyOf, classifier, ENCODED, LORA} from './classifier';
import {makePairs, makeTasks, type Task} from './mails';

interface Settings {
  rate: number;
  rank: number;
  /** Of the epochs by the amount of data. */
  times: number;
  batch: number;
  scale: number;
}

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
const folder = mails();
const {list, newsletter} = makeTasks(folder, {train: 256, test: 320});
const tasks: Readonly<Record<string, Task>> = {list, newsletter};
const pairTasks = makePairs(folder, {train: 256, test: 200});
const study = {
  examples: Object.keys(EPOCHS).map(Number),
  seeds: only.seed === undefined ? [1, 2, 3] : [Number(only.seed)],
  settings: Object.fromEntries([
    ...Object.keys(tasks).map(task => [task, Object.keys(CLASSIFICATION)] as const),
    ...Object.keys(pairTasks).map(task => [task, Object.keys(EMBEDDINGS)] as const),
  ]),
};
if (only.table !== true) {
  await startWasm();
  tf.enableProdMode();
  const encoder = await minilm();
  await runSettings(import.meta.url, study, plan => (plan.task in tasks ? classified : found)(encoder, plan));
}
console.log(`\n${settingTables(import.meta.url, study)}`);

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
