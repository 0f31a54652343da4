/**
 * Compares DPO with more fine-tuning on the chosen answers, from the same point and for as many steps, with three seeds.
 * Takes a quarter of an hour.
 *
 *     npm run study -- preferences
 */
import {openAsBlob} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, disposeModel, getAdapter, setAdapter, startWasm} from 'tfjs-lora';
import {
  compilePreferences,
  encodeChats,
  encodePreferences,
  generateTexts,
  loadGGUF,
  measurePerplexity,
  type Tokenizer,
} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {countWords} from '../rewards/rules';
import {mean, percent, table} from '../shared/report';
import {asked, BATCHES, isShort, makePairs, mixedAnswers, ORDINARY} from './pairs';

/** The shares of pairs whose chosen answer is likelier and of answers that follow the rule, words, and perplexity. */
type Scores = [accuracy: number, rate: number, words: number, perplexity: number];

const {train, test} = makePairs({train: 56, test: 20});
const stages: Record<string, Scores[]> = {};

await startWasm();
tf.enableProdMode();
for (const seed of [1, 2, 3]) {
  const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const model = applyLoRA(base, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed});
  const measured = async (stage: string) => {
    const scores = await score(model, tokenizer);
    (stages[stage] ??= []).push(scores);
    console.log(`seed ${seed}, ${stage}: ${scores.map(value => value.toFixed(3)).join(', ')}`);
  };
  const fineTune = async (examples: {prompt: string; completion: string}[], learningRate: number) => {
    compileModel(model, {optimizer: adamW({learningRate})});
    const data = await encodeChats(model, tokenizer, examples, {...BATCHES, seed});
    await model.fitDataset(data, {epochs: 1, verbose: 0});
  };
  await measured('base');
  await fineTune(mixedAnswers(train), 1e-3);
  await measured('after SFT');
  const tuned = getAdapter(model);

  const pairs = await encodePreferences(model, tokenizer, train, {...BATCHES, seed});
  compilePreferences(model, {method: 'dpo', beta: 0.1, optimizer: adamW({learningRate: 3e-4})});
  await model.fitDataset(pairs, {epochs: 1, verbose: 0});
  await measured('then DPO');

  setAdapter(model, tuned);
  const chosen = train.map(({prompt, chosen: completion}) => ({prompt, completion}));
  await fineTune(chosen, 3e-4);
  await measured('then SFT on the chosen');
  tuned.dispose();
  [model, base].forEach(disposeModel);
}
const rows = Object.entries(stages).map(([stage, all]) => {
  const [accuracy, rate, words, perplexity] = [0, 1, 2, 3].map(i => mean(all.map(scores => scores[i]!)));
  const rates = all.map(scores => (100 * scores[1]).toFixed(0)).join(', ');
  return [stage, percent(accuracy!), percent(rate!), rates, words!.toFixed(1), perplexity!.toFixed(2)];
});
console.log(`\n${table([['', 'accuracy', 'rule', 'each seed, %', 'words', 'perplexity'], ...rows])}`);

async function score(model: tf.LayersModel, tokenizer: Tokenizer): Promise<Scores> {
  const answers = await generateTexts(model, tokenizer, ...asked(test));
  const perplexity = await measurePerplexity(model, tokenizer, ORDINARY);
  // The reward of SimPO is the mean log-probability per token, so that short answers have no advantage.
  const held = await encodePreferences(model, tokenizer, test, {reference: 'none', batchSize: 4, seed: 1});
  compilePreferences(model, {method: 'simpo', optimizer: 'sgd', metrics: ['accuracy']});
  const [loss, accuracy] = (await model.evaluateDataset(held, {})) as tf.Scalar[];
  const share = accuracy!.dataSync()[0]!;
  tf.dispose([loss!, accuracy!]);
  return [share, answers.filter(isShort).length / answers.length, mean(answers.map(countWords)), perplexity];
}
