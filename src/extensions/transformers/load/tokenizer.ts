import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, kindOf, LoRAError, misfitError, show, throwFaults} from '../../../platform/errors';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {EmbeddingLayer} from '../../../platform/tfjs/layerFields';
import {baseOf} from '../../../core/layers/layerMarks';
import {sitesOf} from '../../../core/rewire/walk';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {hubRecordOf} from '../net/hubRecord';
import {tensorsFor} from '../net/modelInputs';
import {positionLimitOf} from '../net/positionLimit';
import type {ChatTemplate} from './peers';

/**
 * What this library needs of a tokenizer. `loadTransformer` and `loadGGUF` make one with `Tokenizer` of
 * `@huggingface/tokenizers`; yours may lack what a function does not use.
 */
export interface Tokenizer {
  /** The ids of a text's tokens, including special tokens. */
  encode(
    text: string,
    options?: {add_special_tokens?: boolean; text_pair?: string | null; return_token_type_ids?: boolean | null},
  ): {ids: number[]; token_type_ids?: number[]};
  /** The text of tokens. */
  decode(ids: number[], options?: {skip_special_tokens?: boolean}): string;
  /** All tokens and their ids, if the tokenizer has them. */
  get_vocab?(withAddedTokens?: boolean): ReadonlyMap<string, number>;
  /** Renders messages as the text that the model was trained with. */
  readonly chatTemplate?: ChatTemplate;
}

/** Options of `encodeTexts`. */
export interface EncodeTextsOptions {
  /**
   * Longer texts are truncated to this many tokens; special tokens at the ends stay. Default: the length of the model's
   * position embedding, if it has one.
   */
  maxLength?: number;
  /** Pads to this length instead of that of the longest text. */
  padToLength?: number;
  /** Pads to a multiple of this, so that fewer lengths occur: some backends compile for each. Default: 1. */
  padToMultipleOf?: number;
  /** The padding token. Default: `pad_token_id` of the model's config, or 0. */
  padTokenId?: number;
}

/** Encoded texts, `[texts, positions]` each. */
export interface EncodedTexts {
  /** Those of the tensors below that the model takes, in the order of its inputs. */
  inputs: tf.Tensor[];
  /** The tokens, `[texts, positions]`, int32. */
  inputIds: tf.Tensor2D;
  /** 1 for tokens, 0 for padding. */
  attentionMask: tf.Tensor2D;
  /** 0 for the first of two texts, 1 for the second. */
  tokenTypeIds: tf.Tensor2D;
}

/** A text, or a pair of texts. */
export type TextInput = string | readonly [first: string, second: string];

/**
 * Encodes texts as int32 tensors, padded to one length after their tokens.
 *
 * @param model the model that they are for, adapted or not: its vocabulary and its position embedding are the limits.
 * @param tokenizer the tokenizer of the model.
 * @param texts texts, or pairs of texts.
 * @param options the maximum length and padding.
 * @returns the model's `inputs`, and each tensor by its name, `[texts, positions]`. Dispose of all three after use.
 * @throws LoRAError `ERR_OPTION` if there is no tokenizer, a text is not a string, or an option is out of range;
 *     `ERR_MISFIT` if the tokenizer returns an id outside the vocabulary of the model.
 * @example
 *     const {inputs} = encodeTexts(model, tokenizer, ['a text', 'another one'], {maxLength: 128});
 *     const outputs = model.predict(inputs);
 * @experimental
 */
export function encodeTexts(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode' | 'get_vocab'>,
  texts: readonly TextInput[],
  options: EncodeTextsOptions = {},
): EncodedTexts {
  checkOptions(options, {maxLength: true, padToLength: true, padToMultipleOf: true, padTokenId: true});
  checkModel(model);
  checkTokenizer(tokenizer);
  checkTexts(texts);
  const {encode, batch} = textEncoder(model, tokenizer, options);
  return batch(texts.map(encode));
}

/** Encodes texts for a model one by one, and makes tensors of any of them. */
export interface TextEncoder {
  /** @throws LoRAError if the tokenizer does not match the model. */
  readonly encode: (text: TextInput) => EncodedText;
  readonly batch: (texts: readonly EncodedText[]) => EncodedTexts;
}

/** @throws LoRAError if an option is out of range. */
export function textEncoder(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode'>,
  options: EncodeTextsOptions,
): TextEncoder {
  const {vocabulary, positions: most} = textLimits(model);
  const {padTokenId = padTokenOf(model, vocabulary), padToLength, padToMultipleOf = 1} = options;
  checkCounts({maxLength: options.maxLength, padToMultipleOf, padToLength});
  checkNumber(
    'padTokenId',
    padTokenId,
    Number.isInteger(padTokenId) && padTokenId >= 0 && padTokenId < vocabulary,
    `a token id of the model, from 0 to ${vocabulary - 1}`,
  );
  const maxLength = Math.min(options.maxLength ?? Infinity, padToLength ?? Infinity, most);
  if (padToLength !== undefined && padToLength > most) {
    throw misfitError(`padToLength is ${padToLength}, but the model has ${most} positions.`);
  }
  const ends = tokenizer.encode('').ids;
  const encode = (text: TextInput) => {
    const encoded = cut(encodeOne(tokenizer, text), maxLength, ends);
    checkNumbers(encoded, vocabulary);
    return encoded;
  };
  const batch = (texts: readonly EncodedText[]) => {
    const longest = padToLength ?? texts.reduce((long, {ids}) => Math.max(long, ids.length), 1);
    const positions = Math.min(Math.ceil(longest / padToMultipleOf) * padToMultipleOf, most);
    const tensor = (filler: number, fill: (values: Int32Array, text: EncodedText, from: number) => void) => {
      const values = new Int32Array(texts.length * positions).fill(filler);
      texts.forEach((text, row) => fill(values, text, row * positions));
      return tf.tensor2d(values, [texts.length, positions], 'int32');
    };
    const inputIds = tensor(padTokenId, (values, {ids}, from) => values.set(ids, from));
    const attentionMask = tensor(0, (values, {ids}, from) => values.fill(1, from, from + ids.length));
    const tokenTypeIds = tensor(0, (values, {types}, from) => values.set(types, from));
    const named = {input_ids: inputIds, attention_mask: attentionMask, token_type_ids: tokenTypeIds};
    return {inputs: tensorsFor(model, named), inputIds, attentionMask, tokenTypeIds};
  };
  return {encode, batch};
}

/** The vocabulary size and the number of positions of a model, as far as its layers limit them. */
function textLimits(model: tf.LayersModel): {vocabulary: number; positions: number} {
  let vocabulary: number | undefined;
  let positions = Infinity;
  for (const {layer} of sitesOf(model)) {
    const base = baseOf(layer);
    const {inputDim} = fieldsOf<Partial<EmbeddingLayer>>(base);
    vocabulary ??= inputDim;
    positions = Math.min(positions, positionLimitOf(base) ?? Infinity);
  }
  return {vocabulary: vocabulary ?? Infinity, positions};
}

function padTokenOf(model: tf.LayersModel, vocabulary: number): number {
  const {pad_token_id: id} = (hubRecordOf(model)?.config ?? {}) as {pad_token_id?: unknown};
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabulary ? (id as number) : 0;
}

/**
 * Refuses a tokenizer that cannot encode, or has more tokens than the model.
 *
 * @throws LoRAError
 */
export function checkTokenizer(
  tokenizer: unknown,
  vocabulary?: number,
): asserts tokenizer is Pick<Tokenizer, 'encode'> {
  const {encode, get_vocab: getVocabulary} = (tokenizer ?? {}) as Partial<Record<keyof Tokenizer, unknown>>;
  if (typeof encode !== 'function') {
    throw new LoRAError(
      'tokenizer must have a function encode, such as new Tokenizer(tokenizerJson, tokenizerConfig) of ' +
        `@huggingface/tokenizers, got ${kindOf(tokenizer)}.`,
    );
  }
  if (vocabulary === undefined || typeof getVocabulary !== 'function') {
    return;
  }
  let largest = -1;
  let token = '';
  for (const [name, number] of (tokenizer as Required<Tokenizer>).get_vocab(true)) {
    if (number > largest) {
      largest = number;
      token = name;
    }
  }
  if (largest >= vocabulary) {
    throw misfitError(
      `The tokenizer does not match the model: its token ${show(token)} has id ${largest}, but the model has ` +
        `${vocabulary} tokens. Use the tokenizer.json in the folder of the model.`,
    );
  }
}

/** Whether a value is a text, or a pair of texts. */
export function isText(text: unknown): text is TextInput {
  return (
    typeof text === 'string' ||
    (Array.isArray(text) && text.length === 2 && text.every(sentence => typeof sentence === 'string'))
  );
}

export function checkTexts(texts: unknown): void {
  if (!Array.isArray(texts) || texts.length === 0) {
    throw new LoRAError(`texts must be a list of texts, got ${Array.isArray(texts) ? 'an empty one' : kindOf(texts)}.`);
  }
  const wrong = texts.findIndex(text => !isText(text));
  if (wrong >= 0) {
    throw new LoRAError(`Text ${wrong} must be a string or a pair of strings, got ${kindOf(texts[wrong])}.`);
  }
}

function checkCounts(counts: Readonly<Record<string, unknown>>): void {
  throwFaults(
    Object.entries(counts)
      .filter(([, value]) => value !== undefined && (!Number.isInteger(value) || (value as number) < 1))
      .map(([name, value]) => `${name} must be a positive integer, got ${show(value)}.`),
  );
}

/** The tokens of a text, and their types. */
export interface EncodedText {
  ids: readonly number[];
  types: readonly number[];
}

function encodeOne(tokenizer: Pick<Tokenizer, 'encode'>, text: TextInput): EncodedText {
  if (typeof text === 'string') {
    const {ids} = tokenizer.encode(text);
    return {ids, types: ids.map(() => 0)};
  }
  const [first, second] = text;
  const {ids, token_type_ids: types} = tokenizer.encode(first, {text_pair: second, return_token_type_ids: true});
  return {ids, types: types ?? ids.map(() => 0)};
}

/** A text of at most `most` tokens. Special tokens at its end stay. */
function cut({ids, types}: EncodedText, most: number, ends: readonly number[]): EncodedText {
  if (ids.length <= most) {
    return {ids, types};
  }
  let last = 0;
  while (last < ends.length && ends[ends.length - 1 - last] === ids[ids.length - 1 - last]) {
    last++;
  }
  const keptCount = Math.min(last, most);
  const shorten = (values: readonly number[]) => [
    ...values.slice(0, most - keptCount),
    ...values.slice(values.length - keptCount),
  ];
  return {ids: shorten(ids), types: shorten(types)};
}

function checkNumbers({ids}: EncodedText, vocabulary: number): void {
  const wrong = ids.find(number => !Number.isInteger(number) || number < 0 || number >= vocabulary);
  if (wrong !== undefined || !Array.isArray(ids)) {
    throw misfitError(
      `The tokenizer does not match the model: it returns the id ${show(wrong)}, but the model has ` +
        `${vocabulary} tokens.`,
    );
  }
}
