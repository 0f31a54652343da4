import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, misfitError, show, throwFaults} from '../../../platform/errors';

/** What a tokenizer must have. The `Tokenizer` of `@huggingface/tokenizers` has it. */
export interface TextTokenizer {
  /** The numbers of a text's tokens, with those that the model wants at the ends. */
  encode(
    text: string,
    options?: {add_special_tokens?: boolean; text_pair?: string | null; return_token_type_ids?: boolean | null},
  ): {
    ids: readonly number[];
    token_type_ids?: readonly number[];
  };
  /** All tokens and their numbers, if the tokenizer tells. */
  get_vocab?(withAddedTokens?: boolean): ReadonlyMap<string, number>;
}

/** The tokenizer of a model of the hub, as `@huggingface/tokenizers` has it. */
export interface HubTokenizer extends TextTokenizer {
  encode(...given: Parameters<TextTokenizer['encode']>): {ids: number[]; token_type_ids?: number[]};
  decode(ids: number[], options?: {skip_special_tokens?: boolean}): string;
}

/** How texts are encoded. */
export interface EncodeTextsOptions {
  /** Texts of more tokens are cut. Those that the tokenizer puts at the ends stay. Default: no text is cut. */
  maxLength?: number;
  /** Fill up to a multiple of this, so that fewer sizes occur: some backends compile for each. Default: 1. */
  multipleOf?: number;
  /** Fill up to this length instead of that of the longest text. */
  length?: number;
  /** The number that fills up. It does not matter which, since nothing sees it. Default: 0. */
  padding?: number;
  /** Numbers must be below this, the rows of the model's table of words. */
  vocabulary?: number;
}

/** Texts as a model takes them, `[texts, places]` each. */
export interface EncodedTexts {
  inputIds: tf.Tensor2D;
  /** 1 for tokens, 0 for what fills up. */
  attentionMask: tf.Tensor2D;
  /** 0 for the first of two texts, 1 for the second. */
  tokenTypeIds: tf.Tensor2D;
}

/** A text, or two that belong together. */
export type TextInput = string | readonly [first: string, second: string];

/**
 * Texts as tensors of whole numbers, filled up behind their tokens to one length.
 *
 *     const {inputIds, attentionMask} = encodeTexts(tokenizer, ['a text', 'another one'], {maxLength: 128});
 *     model.predict([inputIds, attentionMask])
 *
 * @throws LoRAError if there is no tokenizer, a text is not a string, or the tokenizer gives numbers that the model has
 * no row for.
 */
export function encodeTexts(
  tokenizer: TextTokenizer,
  texts: readonly TextInput[],
  options: EncodeTextsOptions = {},
): EncodedTexts {
  checkOptions(options, {maxLength: true, multipleOf: true, length: true, padding: true, vocabulary: true});
  const {maxLength, multipleOf = 1, length, padding = 0, vocabulary} = options;
  checkTokenizer(tokenizer);
  checkTexts(texts);
  checkCounts({maxLength, multipleOf, length, vocabulary});
  const most = Math.min(maxLength ?? Infinity, length ?? Infinity);
  const ends = endsOf(tokenizer);
  const encoded = texts.map(text => cut(encodeOne(tokenizer, text), most, ends));
  checkNumbers(encoded, vocabulary);
  const longest = length ?? encoded.reduce((long, {ids}) => Math.max(long, ids.length), 1);
  const places = Math.ceil(longest / multipleOf) * multipleOf;
  const [ids, mask, types] = [padding, 0, 0].map(value => new Int32Array(texts.length * places).fill(value)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  encoded.forEach((text, row) => {
    ids.set(text.ids, row * places);
    types.set(text.types, row * places);
    mask.fill(1, row * places, row * places + text.ids.length);
  });
  const tensor = (values: Int32Array) => tf.tensor2d(values, [texts.length, places], 'int32');
  return {inputIds: tensor(ids), attentionMask: tensor(mask), tokenTypeIds: tensor(types)};
}

/**
 * Refuses what cannot encode, or has more tokens than a model has rows.
 *
 * @throws LoRAError
 */
export function checkTokenizer(tokenizer: unknown, vocabulary?: number): asserts tokenizer is TextTokenizer {
  const {encode, get_vocab: getVocabulary} = (tokenizer ?? {}) as Partial<Record<keyof TextTokenizer, unknown>>;
  if (typeof encode !== 'function') {
    throw new LoRAError(
      'A tokenizer is needed, such as new Tokenizer(tokenizerJson, tokenizerConfig) of @huggingface/tokenizers, ' +
        `with a function encode; got ${kindOf(tokenizer)}.`,
    );
  }
  if (vocabulary === undefined || typeof getVocabulary !== 'function') {
    return;
  }
  let largest = -1;
  let token = '';
  for (const [name, number] of (tokenizer as Required<TextTokenizer>).get_vocab(true)) {
    if (number > largest) {
      largest = number;
      token = name;
    }
  }
  if (largest >= vocabulary) {
    throw misfitError(
      `The tokenizer does not fit the model: its token ${show(token)} has number ${largest}, and the table of ` +
        `words ${vocabulary} rows. Take the tokenizer.json that lies beside the model's weights.`,
    );
  }
}

function checkTexts(texts: unknown): void {
  const isText = (text: unknown) =>
    typeof text === 'string' ||
    (Array.isArray(text) && text.length === 2 && text.every(part => typeof part === 'string'));
  if (!Array.isArray(texts) || texts.length === 0) {
    throw new LoRAError(`A list of texts is needed, got ${Array.isArray(texts) ? 'an empty one' : kindOf(texts)}.`);
  }
  const wrong = texts.findIndex(text => !isText(text));
  if (wrong >= 0) {
    throw new LoRAError(`Text ${wrong} is neither a text nor two in a list, but ${kindOf(texts[wrong])}.`);
  }
}

function checkCounts(counts: Readonly<Record<string, unknown>>): void {
  throwFaults(
    Object.entries(counts)
      .filter(([, value]) => value !== undefined && (!Number.isInteger(value) || (value as number) < 1))
      .map(([name, value]) => `${name} must be a positive integer, got ${show(value)}.`),
  );
}

interface Encoded {
  ids: readonly number[];
  types: readonly number[];
}

function encodeOne(tokenizer: TextTokenizer, text: TextInput): Encoded {
  if (typeof text === 'string') {
    const {ids} = tokenizer.encode(text);
    return {ids, types: ids.map(() => 0)};
  }
  const [first, second] = text;
  const {ids, token_type_ids: types} = tokenizer.encode(first, {text_pair: second, return_token_type_ids: true});
  return {ids, types: types ?? ids.map(() => 0)};
}

/** The tokens that the tokenizer puts at the end of every text. */
function endsOf(tokenizer: TextTokenizer): readonly number[] {
  return tokenizer.encode('').ids;
}

/** A text of at most so many tokens. The tokens that end every text stay at its end. */
function cut({ids, types}: Encoded, most: number, ends: readonly number[]): Encoded {
  if (ids.length <= most) {
    return {ids, types};
  }
  let last = 0;
  while (last < ends.length && ends[ends.length - 1 - last] === ids[ids.length - 1 - last]) {
    last++;
  }
  const kept = Math.min(last, most);
  const shorten = (values: readonly number[]) => [
    ...values.slice(0, most - kept),
    ...values.slice(values.length - kept),
  ];
  return {ids: shorten(ids), types: shorten(types)};
}

function checkNumbers(encoded: readonly Encoded[], vocabulary = Infinity): void {
  for (const {ids} of encoded) {
    const wrong = ids.find(number => !Number.isInteger(number) || number < 0 || number >= vocabulary);
    if (wrong !== undefined || !Array.isArray(ids)) {
      throw misfitError(
        `The tokenizer does not fit the model: it gives the number ${show(wrong)}, and the table of words has ` +
          `${vocabulary} rows.`,
      );
    }
  }
}
