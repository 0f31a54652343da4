import {openAsBlob} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, disposeModel, getAdapter, setAdapter} from 'tfjs-lora';
import {
  compilePreferences,
  encodeChats,
  encodePreferences,
  generateTexts,
  type Tokenizer,
  loadGGUF,
  measurePerplexity,
} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {isShort, ORDINARY, type Pair} from './data';

/** What is measured of a model on held-out pairs. */
export interface Measured {
  /** The share of pairs whose chosen answer has the higher mean log-probability per token. */
  accuracy: number;
  /** The share of generated answers that follow the rule. */
  rate: number;
  /** The mean number of words of generated answers. */
  words: number;
  /** The perplexity of ordinary text. */
  perplexity: number;
  /** The answers to the first few questions. */
  samples: string[];
}

export const STAGES = ['base', 'after SFT', 'then DPO', 'then SFT on the chosen'] as const;
export type Stage = (typeof STAGES)[number];
export type Outcome = Partial<Record<Stage, Measured>>;

export interface Amounts {
  seed: number;
  /** Passes over the pairs with DPO, and with the comparison. */
  epochs: number;
  /** Whether to train the comparison too. */
  compares: boolean;
  tell: (line: string) => void;
}

/** Pairs in a step; a pair is two rows. */
const BATCH = 4;
/** The most tokens of a question and an answer. */
const MAX_LENGTH = 48;
/** The most tokens of a generated answer. A longer one is cut off, and does not follow the rule. */
const MAX_TOKENS = 24;
/** How many answers are kept to be shown. */
const SAMPLES = 3;

/** Trains with one seed, and measures each stage. */
export async function learn(
  {train, test}: {train: Pair[]; test: Pair[]},
  {seed, epochs, compares, tell}: Amounts,
): Promise<Outcome> {
  const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const model = applyLoRA(base, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed});
  const measured = () => measure(model, tokenizer, test);
  const outcome: Outcome = {base: await measured()};

  // 1. Fine-tune on answers as a log may hold them: of every two questions, one has a short and one a long answer.
  const mixed = train.map(({prompt, chosen, rejected}, i) => ({prompt, completion: i % 2 === 0 ? chosen : rejected}));
  await fineTune(model, tokenizer, mixed, {learningRate: 1e-3, epochs: 1, seed, tell});
  outcome['after SFT'] = await measured();
  const begin = getAdapter(model);

  // 2. Learn from preferences. The reference is the model as it is now; its log-probabilities are computed once.
  const pairs = await encodePreferences(model, tokenizer, train, {maxLength: MAX_LENGTH, batchSize: BATCH, seed});
  compilePreferences(model, {method: 'dpo', beta: 0.1, optimizer: adamW({learningRate: 3e-4}), metrics: ['margin']});
  await model.fitDataset(pairs, {epochs, verbose: 0, callbacks: {onBatchEnd: telling('DPO', tell)}});
  outcome['then DPO'] = await measured();

  // 3. For comparison, go on with the chosen answers alone, from where DPO began.
  if (compares) {
    setAdapter(model, begin);
    const chosen = train.map(({prompt, chosen: completion}) => ({prompt, completion}));
    await fineTune(model, tokenizer, chosen, {learningRate: 3e-4, epochs, seed, tell});
    outcome['then SFT on the chosen'] = await measured();
  }
  begin.dispose();
  [model, base].forEach(disposeModel);
  return outcome;
}

async function fineTune(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  examples: {prompt: string; completion: string}[],
  {learningRate, epochs, seed, tell}: {learningRate: number} & Pick<Amounts, 'epochs' | 'seed' | 'tell'>,
): Promise<void> {
  compileModel(model, {optimizer: adamW({learningRate})});
  const batches = await encodeChats(model, tokenizer, examples, {batchSize: BATCH, maxLength: MAX_LENGTH, seed});
  await model.fitDataset(batches, {epochs, verbose: 0, callbacks: {onBatchEnd: telling('SFT', tell)}});
}

function telling(what: string, tell: (line: string) => void): (batch: number, logs?: tf.Logs) => void {
  return (batch, logs) => tell(`${what}, step ${batch + 1}: loss ${Number(logs?.loss).toFixed(3)}`);
}

async function measure(model: tf.LayersModel, tokenizer: Tokenizer, pairs: Pair[]): Promise<Measured> {
  const answers = await generateTexts(
    model,
    tokenizer,
    pairs.map(({prompt}) => prompt),
    {maxTokens: MAX_TOKENS, stop: ['\n']},
  );
  return {
    accuracy: await accuracyOf(model, tokenizer, pairs),
    rate: answers.filter(isShort).length / answers.length,
    words: answers.reduce((sum, answer) => sum + answer.trim().split(/\s+/).length, 0) / answers.length,
    perplexity: await measurePerplexity(model, tokenizer, ORDINARY),
    samples: answers.slice(0, SAMPLES),
  };
}

/** The reward of SimPO is the mean log-probability per token, so that short answers have no advantage. */
async function accuracyOf(model: tf.LayersModel, tokenizer: Tokenizer, pairs: Pair[]): Promise<number> {
  const held = await encodePreferences(model, tokenizer, pairs, {reference: 'none', batchSize: BATCH, seed: 1});
  compilePreferences(model, {method: 'simpo', optimizer: 'sgd', metrics: ['accuracy']});
  const [, accuracy] = (await model.evaluateDataset(held, {})) as tf.Scalar[];
  return accuracy!.dataSync()[0]!;
}
