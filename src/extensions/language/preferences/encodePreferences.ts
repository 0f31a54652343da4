import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, misfitError, show} from '../../../platform/errors';
import {randomNumbers} from '../../../platform/formats/randomNumbers';
import {type CallOptions, checkCallOptions, type Step, stepsOf} from '../../../platform/signals';
import {withAdapter} from '../../../core/model/currentAdapter';
import {type Batch, orderOf, type SeededBatches, SeededDataset} from '../../../core/training/seededBatches';
import {languageFacts} from '../../transformers/load/languageFacts';
import {chatText, type ChatTexts, ofEntry} from '../chat';
import type {Tokenizer} from '../../transformers/load/tokenizer';
import {checkLanguageTokenizer} from '../languageTokenizer';
import {checkTokens, commonStart, type LanguageParts, languageParts} from '../session';
import {batchOf, type Sequence, targetsOf} from './batch';
import {sequenceLogProbs} from '../logProbs';
import {type AnsweredPrompt, firstAnswerPosition} from '../sequenceInputs';
import {type JudgedPrompt, judgedPromptOf, type PreferenceRecord} from '../../records/preferenceRecords';

/** How preferences are encoded. */
export interface EncodePreferencesOptions extends CallOptions {
  /** Longer sequences are truncated to this many tokens. Default: no sequence is truncated. */
  maxLength?: number;
  /** How many pairs or judged answers are in a batch. Each takes two rows. Default: 2 pairs, or 4 answers. */
  batchSize?: number;
  /** An integer that determines the order of the examples in every epoch. Default: random. */
  seed?: number;
  /** Pads batches to a multiple of this many positions: some backends compile for each length. Default: 16. */
  padToMultipleOf?: number;
  /**
   * The model that training may not move far from: `'current'`, the model as it is now, `'base'`, the model without its
   * adapter, or `'none'`, for methods without a reference (`'orpo'`, `'simpo'`). Default: `'current'`.
   */
  reference?: 'current' | 'base' | 'none';
}

/**
 * Batches of preferences for `fitDataset`, and counts of the records. Returned by `encodePreferences`.
 *
 * @experimental
 */
export interface PreferenceBatches extends SeededBatches {
  /** Whether the records are pairs, or answers that are judged one by one. */
  readonly kind: 'pairs' | 'judged';
  /** How many records have a sequence longer than `maxLength`, including those that were then skipped. */
  readonly truncated: number;
  /** How many records have an answer of which no token is within `maxLength`. They are in no batch. */
  readonly skipped: number;
}

class PreferenceDataset extends SeededDataset implements PreferenceBatches {
  constructor(
    examples: number,
    gather: (indices: Int32Array) => Batch,
    order: {batchSize: number; seed: number},
    readonly kind: 'pairs' | 'judged',
    readonly truncated: number,
    readonly skipped: number,
  ) {
    super(examples, gather, order);
  }
}

/**
 * Encodes preferences as batches for `fitDataset`, once with the log-probabilities of the reference.
 *
 * A pair takes two rows of a batch, its chosen and its rejected answer. A judged answer takes two rows as well: itself,
 * and for the KL estimate of KTO the answer of another example of the batch to its prompt. Therefore batches of judged
 * answers keep their examples, and only their order changes between epochs. As in TRL, an answer is what follows the
 * tokens that the prompt and both texts have in common, with the token that ends it.
 *
 * @param model the model to train, adapted or not. It provides the vocabulary size and the end-of-text tokens.
 * @param tokenizer the tokenizer of the model. Messages require a chat template.
 * @param records pairs or judged answers, as `parsePreferences` returns them; all of one kind.
 * @param options the longest row, the reference, and progress.
 * @returns batches for a model that `compilePreferences` compiled, and how many records were `truncated` or `skipped`.
 * @throws LoRAError with the index of the record: `ERR_OPTION` if it is no record, `ERR_MISFIT` if the template refuses
 *     it or its tokens do not fit the model. Also `ERR_OPTION` if the records are of two kinds, `ERR_MISFIT` if the
 *     model is no language model or no record is left, `ERR_NOT_ADAPTED` for the reference `'base'` of a model without
 *     an adapter, and `ERR_ABORTED`.
 * @example
 * const pairs = [{prompt: 'The fox', chosen: ' jumps.', rejected: ' is a fox.'}];
 * const data = await encodePreferences(model, tokenizer, pairs, {maxLength: 512});
 * @experimental
 */
export async function encodePreferences(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  records: readonly PreferenceRecord[],
  options: EncodePreferencesOptions = {},
): Promise<PreferenceBatches> {
  checkOptions(options, {
    ...{maxLength: true, batchSize: true, seed: true, padToMultipleOf: true, reference: true},
    ...{signal: true, onProgress: true},
  });
  const {maxLength = Infinity, padToMultipleOf = 16, reference = 'current'} = options;
  const {seed = Math.floor(Math.random() * 2 ** 31)} = options;
  Object.entries({...(maxLength !== Infinity && {maxLength}), padToMultipleOf}).forEach(([name, value]) => {
    checkCount(name, value);
  });
  if (!['current', 'base', 'none'].includes(reference)) {
    throw new LoRAError(`reference must be 'current', 'base' or 'none', got ${show(reference)}.`);
  }
  if (!Number.isSafeInteger(seed)) {
    throw new LoRAError(`seed must be a whole number, got ${show(seed)}.`);
  }
  checkCallOptions(options);
  const parts = languageParts(model);
  checkLanguageTokenizer(tokenizer);
  const prompts = promptsOf(records);
  const isJudged = prompts[0]?.label !== undefined;
  if (isJudged && reference === 'none') {
    throw new LoRAError("Answers with a label need a reference, 'current' or 'base': KTO is the only method for them.");
  }
  const {batchSize = isJudged ? 4 : 2} = options;
  checkCount('batchSize', batchSize, isJudged ? 2 : 1);
  if (reference === 'base') {
    withAdapter(model, null, () => undefined); // refuses a model without an adapter
  }
  const step = stepsOf(options);
  const encoded = await encodeAll(prompts, {tokenizer, facts: languageFacts(model)}, parts.vocabulary, step);
  const isCut = ({answers}: Encoded) => answers.some(({ids}) => ids.length > maxLength);
  const fitting = encoded.filter(({answers}) => answers.every(({from}) => from < maxLength));
  if (fitting.length === 0) {
    throw misfitError('No record is left: each prompt takes maxLength tokens or more. Raise maxLength.');
  }
  const groups = isJudged
    ? judgedGroups(fitting, {batchSize, seed, maxLength})
    : fitting.map(({answers}) => answers.map(answer => cut(answer, maxLength)));
  if (reference !== 'none') {
    const run = <T>(f: () => T) => (reference === 'base' ? withAdapter(model, null, f) : f());
    await addReferences(groups, {parts, run, padToMultipleOf}, step);
  }
  const gather = (indices: Int32Array) =>
    batchOf(
      [...indices].flatMap(i => groups[i] as Sequence[]),
      padToMultipleOf,
    );
  return new PreferenceDataset(
    groups.length,
    gather,
    {batchSize: isJudged ? 1 : batchSize, seed},
    isJudged ? 'judged' : 'pairs',
    encoded.filter(isCut).length,
    encoded.length - fitting.length,
  );
}

/** @throws LoRAError if a value is no list of records of one kind. */
function promptsOf(records: unknown): JudgedPrompt[] {
  if (!Array.isArray(records) || records.length === 0) {
    const got = Array.isArray(records) ? 'an empty one' : kindOf(records);
    throw new LoRAError(`records must be a list of preferences, got ${got}.`);
  }
  const prompts = (records as readonly unknown[]).map((record, i) => judgedPromptOf(record, `Record ${i}`));
  const other = prompts.findIndex(({answers}) => answers.length !== prompts[0]?.answers.length);
  if (other >= 0) {
    throw new LoRAError(
      `Records must be of one kind, but record 0 ${described(prompts[0] as JudgedPrompt)} and record ${other} ` +
        `${described(prompts[other] as JudgedPrompt)}. Encode and train on each kind separately.`,
    );
  }
  return prompts;
}

function described({label}: JudgedPrompt): string {
  return label === undefined ? 'is a pair' : 'is an answer with a label';
}

/** The texts of a record, as tokens. */
interface Encoded {
  /** The tokens of the prompt with each answer, and where the answer begins. */
  readonly answers: readonly AnsweredPrompt[];
  readonly label?: boolean;
}

async function encodeAll(
  prompts: readonly JudgedPrompt[],
  texts: ChatTexts,
  vocabulary: number,
  step: Step,
): Promise<Encoded[]> {
  const encoded: Encoded[] = [];
  for (const [i, {prompt, answers, label}] of prompts.entries()) {
    await step({done: i, total: prompts.length, what: 'encoding records'});
    encoded.push(
      ofEntry(`Record ${i}`, () => {
        const before = encodePart(prompt, texts, true);
        const sequences = answers.map(answer => encodeAnswer(prompt, answer, texts));
        const from = Math.min(...sequences.map(ids => commonStart(before, ids)));
        sequences.forEach(ids => {
          checkTokens(ids, vocabulary);
          if (ids.length <= Math.max(from, 1)) {
            throw misfitError('The answer has no tokens.');
          }
        });
        return {answers: sequences.map(ids => ({ids, from})), label};
      }),
    );
  }
  return encoded;
}

function encodePart(prompt: JudgedPrompt['prompt'], texts: ChatTexts, isPrompt: boolean): readonly number[] {
  return typeof prompt === 'string'
    ? texts.tokenizer.encode(prompt).ids
    : texts.tokenizer.encode(chatText(prompt, texts, isPrompt), {add_special_tokens: false}).ids;
}

/** Encodes a prompt with an answer. A text gets its end-of-text token. */
function encodeAnswer(
  prompt: JudgedPrompt['prompt'],
  answer: JudgedPrompt['prompt'],
  texts: ChatTexts,
): readonly number[] {
  if (typeof prompt === 'string') {
    const [end] = texts.facts.ends ?? [];
    const ids = encodePart(prompt + (answer as string), texts, false);
    return end === undefined || ids.at(-1) === end ? ids : [...ids, end];
  }
  return encodePart([...prompt, ...(answer as typeof prompt)], texts, false);
}

/** An answer of an example: its first tokens. */
function cut({ids, from}: AnsweredPrompt, maxLength: number): AnsweredPrompt {
  return {ids: ids.slice(0, maxLength), from};
}

/** Makes the batches of judged answers, each with both labels if it can, and adds the mismatched answers. */
function judgedGroups(
  examples: readonly Encoded[],
  {batchSize, seed, maxLength}: {batchSize: number; seed: number; maxLength: number},
): Sequence[][] {
  const order = [...orderOf(examples.length, randomNumbers(seed, 0)(), 0)].map(i => examples[i] as Encoded);
  /** Where each example goes so that both labels are spread evenly. */
  const places = [true, false].flatMap(label => {
    const same = order.filter(example => example.label === label);
    return same.map((example, i) => ({example, place: (i + 0.5) / same.length}));
  });
  const sorted = places.sort((one, other) => one.place - other.place).map(({example}) => example);
  return Array.from({length: Math.ceil(sorted.length / batchSize)}, (_, batch) => {
    const answersOfBatch = sorted
      .slice(batch * batchSize, (batch + 1) * batchSize)
      .map(({answers: [answer], label}) => ({
        ...(answer as Encoded['answers'][number]),
        label: label === true ? 1 : 0,
      }));
    return answersOfBatch.flatMap(({ids, from, label}, i) => {
      const other = answersOfBatch.at(i - 1) as Encoded['answers'][number];
      const mismatched = [...ids.slice(0, from), ...other.ids.slice(other.from)]; // of the whole answer
      return [
        {...cut({ids, from}, maxLength), label},
        {...cut({ids: mismatched, from}, maxLength), label: -1},
      ];
    });
  });
}

/** Adds to each sequence its log-probability by the model as it is, or without its adapter. */
async function addReferences(
  groups: readonly Sequence[][],
  {parts, run, padToMultipleOf}: {parts: LanguageParts; run: <T>(f: () => T) => T; padToMultipleOf: number},
  step: Step,
): Promise<void> {
  for (const [done, group] of groups.entries()) {
    await step({done, total: groups.length, what: 'computing the reference'});
    const sums = run(() =>
      tf.tidy(() => {
        const {xs, ys} = batchOf(group, padToMultipleOf);
        const [ids, mask] = xs as [tf.Tensor2D, tf.Tensor2D];
        const targets = targetsOf(ys as tf.Tensor2D, ids.shape[1]).answers();
        const first = firstAnswerPosition(group, padToMultipleOf);
        const states = tf.slice<tf.Rank.R3, tf.Tensor3D>(parts.states([ids, mask]), [0, first, 0]);
        return sequenceLogProbs([tf.slice(targets, [0, first])], states, parts.head)[0] as tf.Tensor1D;
      }),
    );
    const values = await sums.data();
    sums.dispose();
    group.forEach((sequence, i) => (sequence.reference = values[i]));
  }
  await step({done: groups.length, total: groups.length, what: 'computing the reference'});
}
