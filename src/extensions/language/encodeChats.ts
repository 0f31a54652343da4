import * as tf from '@tensorflow/tfjs';
import {
  checkCount,
  checkOptions,
  kindOf,
  LoRAError,
  misfitError,
  show,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {type Batch, type SeededBatches, SeededDataset} from '../../core/training/seededBatches';
import {ANSWER, answerEnds} from './answerEnds';
import {type ChatRecord, type Example, exampleOf} from '../records/chatRecords';
import {type ChatMessage, ROLES} from '../records/messages';
import {chatText, type ChatTexts, ofEntry} from './chat';
import type {Tokenizer} from '../transformers/load/tokenizer';
import {checkLanguageTokenizer} from './languageTokenizer';
import {languageFacts} from '../transformers/load/languageFacts';
import {checkTokens, commonStart, languageParts} from './session';

/** How chats are encoded. */
export interface EncodeChatsOptions extends CallOptions {
  /** Longer examples are truncated to this many tokens. Default: no example is truncated. */
  maxLength?: number;
  /**
   * Whether short examples share a row of at most `maxLength` tokens, so that there is less padding. Packed examples
   * attend to earlier examples in the same row, as in TRL without position masking; with `{isolated: true}` only to
   * themselves, so that they compute what they compute alone. Default: false.
   */
  packing?: boolean | {isolated?: boolean};
  /** Which tokens the loss covers: the answers of the assistant, or all. Default: `'assistant'`. */
  trainOn?: 'assistant' | 'all';
  /** Default: 4. */
  batchSize?: number;
  /** An integer that determines the order of the examples in every epoch. Default: random. */
  seed?: number;
  /** Pads batches to a multiple of this many positions: some backends compile for each length. Default: 16. */
  padToMultipleOf?: number;
}

/**
 * Batches for `fitDataset`, and counts of the records. Returned by `encodeChats`.
 *
 * @experimental
 */
export interface ChatBatches extends SeededBatches {
  /** How many examples were longer than `maxLength`, including those that were then skipped. */
  readonly truncated: number;
  /** How many examples have no token within `maxLength` that the loss covers. They are in no batch. */
  readonly skipped: number;
  /** How many tokens the loss covers in an epoch. */
  readonly trainedTokens: number;
}

class ChatDataset extends SeededDataset implements ChatBatches {
  readonly truncated: number;
  readonly skipped: number;
  readonly trainedTokens: number;

  constructor(
    examples: readonly Encoded[],
    {truncated, skipped, ...format}: {truncated: number; skipped: number} & RowFormat,
    order: {batchSize: number; seed: number},
  ) {
    const gather = (indices: Int32Array) =>
      batchOf(
        Array.from(indices, i => examples[i] as Encoded),
        format,
      );
    super(examples.length, gather, order);
    [this.truncated, this.skipped] = [truncated, skipped];
    this.trainedTokens = examples.reduce((sum, {trained}) => sum + trained.slice(1).filter(Boolean).length, 0);
  }
}

/** The target that the cross-entropy ignores. */
const IGNORED = -100;

/**
 * Encodes chats and texts as batches for `fitDataset`: tokens and a mask, and as targets the next tokens, or −100 where
 * the loss does not cover them.
 *
 * The tokenizer's chat template renders messages as text. By default, the loss covers only the assistant's messages,
 * the completion of `{prompt, completion}`, and all of `{text}`, each including its end-of-text token. A token that
 * spans the start of an answer is covered. The order follows from the seed and the epoch, as in `seededBatches`.
 *
 * @param model the model to train, adapted or not. It provides the vocabulary size and the end-of-text tokens.
 * @param tokenizer the tokenizer of the model. Messages require a chat template.
 * @param records `{messages}`, `{prompt, completion}` or `{text}`, as `parseChats` returns them.
 * @param options the longest row, which tokens the loss covers, packing, and progress.
 * @returns batches with `xs`: `[tokens, mask]` and `ys`, each `[batch, positions]` int32 (the mask of isolated examples
 *     has twice the positions), how many examples were `truncated` or `skipped`, and how many tokens the loss covers in
 *     an epoch (`trainedTokens`).
 * @throws LoRAError with the index of the record: `ERR_OPTION` if it is no record, `ERR_MISFIT` if the template refuses
 *     it or its tokens do not fit the model, `ERR_UNSUPPORTED` if the template renders earlier messages differently
 *     when others follow. Also `ERR_MISFIT` if the model is no language model or nothing is left to train on, and
 *     `ERR_ABORTED`.
 * @example
 * const data = await encodeChats(model, tokenizer, [{prompt: 'The fox', completion: ' jumps.'}], {maxLength: 512});
 * @experimental
 */
export async function encodeChats(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  records: readonly ChatRecord[],
  options: EncodeChatsOptions = {},
): Promise<ChatBatches> {
  checkOptions(options, {
    ...{maxLength: true, packing: true, trainOn: true, batchSize: true, seed: true, padToMultipleOf: true},
    ...{signal: true, onProgress: true},
  });
  const {maxLength = Infinity, packing = false, trainOn = 'assistant', batchSize = 4, padToMultipleOf = 16} = options;
  const {seed = Math.floor(Math.random() * 2 ** 31)} = options;
  Object.entries({...(maxLength !== Infinity && {maxLength}), batchSize, padToMultipleOf}).forEach(([name, value]) => {
    checkCount(name, value);
  });
  if (!['assistant', 'all'].includes(trainOn)) {
    throw new LoRAError(`trainOn must be 'assistant' or 'all', got ${show(trainOn)}.`);
  }
  const {isolated = false} = checkPacking(packing);
  if (packing && maxLength === Infinity) {
    throw new LoRAError('packing needs maxLength, the number of tokens in a row.');
  }
  checkCallOptions(options);
  const {vocabulary, maxPositions} = languageParts(model);
  if (isolated && maxPositions < Infinity) {
    throw unsupportedError(
      'Isolated examples start at position 0, and this model has a learned embedding for each position of a row. Use ' +
        'packing: true, or no packing.',
    );
  }
  checkLanguageTokenizer(tokenizer);
  if (!Array.isArray(records) || records.length === 0) {
    const got = Array.isArray(records) ? 'an empty one' : kindOf(records);
    throw new LoRAError(`records must be a list of chats or texts, got ${got}.`);
  }
  const texts = {tokenizer, facts: languageFacts(model)};
  const ends = answerEnds(texts);
  const examples = (records as readonly unknown[]).map((record, i) => exampleOf(record, `Record ${i}`));
  if (trainOn === 'assistant') {
    checkRoles(examples, texts.facts.template);
  }
  const step = stepsOf(options);
  const encoded: Encoded[] = [];
  for (const [i, example] of examples.entries()) {
    await step({done: i, total: records.length, what: 'encoding records'});
    const one = ofEntry(`Record ${i}`, () => {
      const pair = 'messages' in example ? encodeMessages(example, texts, ends) : encodeParts(example, texts);
      checkTokens(pair.ids, vocabulary);
      return pair;
    });
    encoded.push(trainOn === 'all' ? {ids: one.ids, trained: one.ids.map(() => true)} : one);
  }
  await step({done: records.length, total: records.length, what: 'encoding records'});
  const shortened = encoded.map(({ids, trained}) => ({
    ids: ids.slice(0, maxLength),
    trained: trained.slice(0, maxLength),
  }));
  const withTargets = shortened.filter(({trained}) => trained.indexOf(true, 1) > 0);
  if (withTargets.length === 0) {
    throw misfitError('The loss covers no token: no record has an answer within maxLength.');
  }
  const truncated = encoded.filter(({ids}) => ids.length > maxLength).length;
  const rows = packing ? packed(withTargets, maxLength) : withTargets;
  const skipped = shortened.length - withTargets.length;
  return new ChatDataset(rows, {truncated, skipped, padToMultipleOf, isolated}, {batchSize, seed});
}

/**
 * Refuses messages whose role is not one of a chat template: of a misspelled answer nothing would be learned.
 *
 * @param template the template, which may have other roles.
 */
function checkRoles(examples: readonly Example[], template = ''): void {
  const isKnown = (role: string) =>
    ROLES.includes(role) || [`'${role}'`, `"${role}"`].some(name => template.includes(name));
  throwFaults(
    examples.flatMap((example, i) =>
      'messages' in example
        ? example.messages.flatMap(({role}, at) =>
            isKnown(role)
              ? []
              : [`Record ${i}, message ${at}: the role ${show(role)}, which the chat template does not name`],
          )
        : [],
    ),
    'ERR_OPTION',
    `The loss covers messages of the role "assistant". Correct these, or pass {trainOn: 'all'}:`,
  );
}

/** @throws LoRAError if it says nothing about packing. */
function checkPacking(packing: boolean | {isolated?: boolean}): {isolated?: boolean} {
  const options = typeof packing === 'boolean' ? {} : packing;
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new LoRAError(`packing must be true, false or {isolated: true}, got ${show(packing)}.`);
  }
  checkOptions(options, {isolated: true});
  if (options.isolated !== undefined && typeof options.isolated !== 'boolean') {
    throw new LoRAError(`packing.isolated must be true or false, got ${show(options.isolated)}.`);
  }
  return options;
}

/** How rows become tensors. */
interface RowFormat {
  padToMultipleOf: number;
  /** Whether the mask tells the examples of a row apart. */
  isolated: boolean;
}

/** The tokens of an example, and which of them the loss covers. */
interface Encoded {
  ids: readonly number[];
  trained: readonly boolean[];
  /** In a row of several, the lengths of the examples. */
  lengths?: readonly number[];
}

/**
 * Packs examples into rows of at most `most` tokens: the longest first, each into the fullest row that has room. The
 * loss does not cover the first token of an example, which the example before it cannot predict.
 */
function packed(examples: readonly Encoded[], most: number): Encoded[] {
  const size = Math.min(
    most,
    examples.reduce((sum, {ids}) => sum + ids.length, 0),
  );
  /** Rows by how many tokens still fit. */
  const byRoom = Array.from({length: size + 1}, (): PackedRow[] => []);
  for (const {ids, trained} of [...examples].sort((one, other) => other.ids.length - one.ids.length)) {
    let room = ids.length;
    while (room < size && byRoom[room]?.length === 0) {
      room++;
    }
    const row = byRoom[room]?.pop() ?? {ids: [], trained: [], lengths: []};
    row.ids.push(...ids);
    row.lengths.push(ids.length);
    row.trained.push(false, ...trained.slice(1));
    byRoom[size - row.ids.length]?.push(row);
  }
  return byRoom.flat();
}

/** A row that is being filled. */
type PackedRow = Record<'ids' | 'lengths', number[]> & {trained: boolean[]};

/** Encodes a text with its end-of-text token. The loss covers the second part. */
function encodeParts({prompt, completion}: Extract<Example, {prompt: string}>, {tokenizer, facts}: ChatTexts): Encoded {
  const [end] = facts.ends ?? [];
  const before = tokenizer.encode(prompt).ids;
  const ids = tokenizer.encode(prompt + completion).ids;
  const all = end === undefined || ids.at(-1) === end ? [...ids] : [...ids, end];
  const from = commonStart(before, all);
  return {ids: all, trained: all.map((_, i) => i >= from)};
}

/** Encodes a chat. The loss covers the assistant's messages after the given ones. */
function encodeMessages(
  {messages, promptCount}: Extract<Example, {messages: unknown}>,
  texts: ChatTexts,
  ends: ReadonlySet<number>,
): Encoded {
  const encode = (text: string) => texts.tokenizer.encode(text, {add_special_tokens: false}).ids;
  const conversation = chatText(messages, texts, false);
  const ids = encode(conversation);
  const trained = ids.map(() => false);
  const upTo = (text: string) => {
    if (!conversation.startsWith(text)) {
      throw unsupportedError(
        "The model's chat template renders earlier messages differently when others follow, so that the answers " +
          'cannot be found in the whole text. Pass each answer as a separate record, {prompt, completion} of messages.',
      );
    }
    return commonStart(encode(text), ids);
  };
  messages.forEach(({role}, i) => {
    if (role !== 'assistant' || i < promptCount) {
      return;
    }
    const before = i === 0 ? textBefore(messages, texts) : chatText(messages.slice(0, i), texts);
    const [from, next] = [upTo(before), upTo(chatText(messages.slice(0, i + 1), texts, false))];
    const to = i === messages.length - 1 ? ids.length : next;
    // The model never generates what the template adds after the token that ends the answer, such as a line break.
    const end = ids.findIndex((id, at) => at >= from && at < to && ends.has(id));
    trained.fill(true, from, end < 0 ? to : end + 1);
  });
  return {ids, trained};
}

/** Returns what precedes the first message of a chat. Not all templates render a chat without messages. */
function textBefore([first, ...laterMessages]: readonly ChatMessage[], texts: ChatTexts): string {
  const text = chatText([{...first, content: ANSWER}, ...laterMessages], texts, false);
  return text.slice(0, text.indexOf(ANSWER));
}

/**
 * Pads examples on the right to one length: the token of each position, and the next one. The mask of isolated ones is
 * followed by the number of each position's example, from 1.
 */
function batchOf(examples: readonly Encoded[], {padToMultipleOf, isolated}: RowFormat): Batch {
  const longest = Math.max(...examples.map(({ids}) => ids.length - 1));
  const positions = Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
  const width = isolated ? 2 * positions : positions;
  const [tokens, targets] = [0, IGNORED].map(value => new Int32Array(examples.length * positions).fill(value)) as [
    Int32Array,
    Int32Array,
  ];
  const mask = new Int32Array(examples.length * width);
  examples.forEach(({ids, trained, lengths = [ids.length]}, row) => {
    tokens.set(ids.slice(0, -1), row * positions);
    mask.fill(1, row * width, row * width + ids.length - 1);
    if (isolated) {
      const numbers = lengths.flatMap((length, i) => Array.from({length}, () => i + 1));
      // Padding belongs to the last example, so that it attends to something.
      mask.fill(lengths.length, row * width + positions, (row + 1) * width);
      mask.set(numbers.slice(0, -1), row * width + positions);
    }
    targets.set(
      ids.slice(1).map((id, i) => (trained[i + 1] === true ? id : IGNORED)),
      row * positions,
    );
  });
  const tensor = (values: Int32Array, columns: number) => tf.tensor2d(values, [examples.length, columns], 'int32');
  return {xs: [tensor(tokens, positions), tensor(mask, width)], ys: tensor(targets, positions)};
}
