/**
 * Measures settings of LoRA for SmolLM2-135M-Instruct in 4 bits, which learns two formats: kitchen tickets, and JSON of
 * four fields; from 24 and from 120 examples, with three seeds. A run counts which of 24 held-out answers are exactly
 * right. Each run is added to study.json when it ends, so the study goes on where it was stopped. It takes hours.
 *
 *     npm run study -- language-settings             all runs that study.json does not have
 *     npm run study -- language-settings --seed 1    only those of a seed
 *     npm run study -- language-settings --table     what study.json has
 */
import {openAsBlob} from 'node:fs';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, disposeModel, startWasm} from 'tfjs-lora';
import {encodeChats, generateTexts, loadGGUF} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {shuffled} from '../shared/random';
import {type Plan, runSettings, settingTables} from '../shared/settings';
import {makeCards} from './cards';
import {makeOrders} from './orders';

interface Settings {
  rate: number;
  rank: number;
  targets: RegExp;
  /** Of the epochs by the amount of data. */
  times: number;
}

/** Epochs by the number of examples. */
const EPOCHS: Readonly<Record<number, number>> = {24: 4, 120: 1};
const SETTINGS: Readonly<Record<string, Partial<Settings>>> = {
  'rate 5e-4': {rate: 5e-4},
  'rate 2e-3': {},
  'rate 5e-3': {rate: 5e-3},
  'rate 2e-3, twice the epochs': {times: 2},
  'rate 2e-3, rank 2': {rank: 2},
  'rate 2e-3, all products': {targets: /_proj$/},
};

const {values: only} = parseArgs({options: {seed: {type: 'string'}, table: {type: 'boolean'}}});
const COUNTS = {train: 120, test: 24};
const tasks = {tickets: makeOrders(COUNTS), cards: makeCards(COUNTS)};
const study = {
  examples: Object.keys(EPOCHS).map(Number),
  seeds: only.seed === undefined ? [1, 2, 3] : [Number(only.seed)],
  settings: Object.fromEntries(Object.keys(tasks).map(task => [task, Object.keys(SETTINGS)])),
};
if (only.table !== true) {
  await startWasm();
  tf.enableProdMode();
  await runSettings(import.meta.url, study, correct);
}
console.log(`\n${settingTables(import.meta.url, study)}`);

/** The share of held-out answers that are right to the letter. */
async function correct({task, examples, setting, seed}: Plan): Promise<number> {
  const {train, test} = tasks[task as keyof typeof tasks];
  const {rate = 2e-3, rank = 8, targets = /[qv]_proj$/, times = 1} = SETTINGS[setting]!;
  const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const model = applyLoRA(base, {rank, alpha: 2 * rank, targets: [targets], seed});
  compileModel(model, {optimizer: adamW({learningRate: rate})});
  const chosen = shuffled(train, seed).slice(0, examples);
  const data = await encodeChats(model, tokenizer, chosen, {batchSize: 4, maxLength: 64, seed});
  await model.fitDataset(data, {epochs: EPOCHS[examples]! * times, verbose: 0});
  const prompts = test.map(({prompt}) => prompt);
  const answers = await generateTexts(model, tokenizer, prompts, {maxTokens: 40, stop: ['\n']});
  [model, base].forEach(disposeModel);
  return answers.filter((answer, i) => answer === test[i]!.completion).length / test.length;
}
