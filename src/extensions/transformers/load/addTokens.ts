import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show} from '../../../platform/errors';
import {namedWeights, replaceValue, shareWeights} from '../../../platform/tfjs/weights';
import {headOf, markHead} from '../../../core/head/headPlace';
import {borrowing} from '../../../core/layers/borrowingLayer';
import {adaptableSites} from '../../../core/model/planLoRA';
import {copyStructure} from '../../../core/rewire/record';
import {rewire} from '../../../core/rewire/rewire';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {HUB, type HubRecord, hubRecordOf, keepTensors} from '../net/hubRecord';
import {type AddedToken, extendedTokenizer} from './peers';
import {checkTokenizer, type Tokenizer} from './tokenizer';
import {embeddingAmong, tableShapeOf, untiedHead} from './trainableTokens';

/** Options of {@link addTokens}. */
export interface AddTokensOptions {
  /**
   * The initial rows of new tokens: the mean of all rows (`'mean'`), or of the rows of the tokens that the text was
   * split into so far (`'pieces'`). Default: `'mean'`, as in transformers.
   */
  init?: 'mean' | 'pieces';
  /** Whether they are special tokens, which decoding can skip. Default: false. */
  special?: boolean;
  /** The path of the token embedding. Default: the only `Embedding` of the model. */
  layer?: string;
}

/** A model and its tokenizer with new tokens. */
export interface AddedTokens<T> {
  /** A model with rows for the new tokens. */
  model: tf.LayersModel;
  /** A tokenizer that knows the new tokens. */
  tokenizer: T;
  /** The id of each token, in the order given. */
  ids: number[];
}

/**
 * Adds tokens to the vocabulary of a model and its tokenizer, such as `'<tool>'`: the token embedding and the output
 * head get a row for each. Train these rows with {@link trainableTokens}. Like `tokenizer.add_tokens` and
 * `model.resize_token_embeddings` of transformers: a token that exists keeps its id, the others get the next ids, and
 * rows that the model has to spare are used as they are. In a quantized table, a new row starts as a copy of the row
 * that is closest to the mean, and what it learns is added to it as floats.
 *
 * @param model the plain model, quantized or not. It is not changed, and shares its other weights with the new model.
 * @param tokenizer its tokenizer, from `loadTransformer` or `loadGGUF`.
 * @param tokens the texts of the tokens.
 * @param options the initial rows.
 * @returns the new model, to dispose of too, the new tokenizer, and the ids of the tokens.
 * @throws LoRAError `ERR_OPTION` if the tokens are not different texts or the tokenizer was not made by this library;
 *     `ERR_MISFIT` if the tokenizer does not fit the model or the token embedding is not found; `ERR_NOT_ADAPTED` if
 *     the model is adapted already.
 * @example
 *     const added = addTokens(model, tokenizer, ['<tool>', '</tool>']);
 *     const adapted = applyLoRA(added.model, trainableTokens(added.model, added.ids, {head: true, lora: {rank: 8}}));
 * @experimental
 */
export function addTokens<T extends Pick<Tokenizer, 'encode' | 'get_vocab'>>(
  model: tf.LayersModel,
  tokenizer: T,
  tokens: readonly string[],
  options: AddTokensOptions = {},
): AddedTokens<T> {
  checkOptions(options, {init: true, special: true, layer: true});
  const {init = 'mean', special = false} = options;
  if (!['mean', 'pieces'].includes(init)) {
    throw new LoRAError(`init must be 'mean' or 'pieces', got ${show(init)}.`);
  }
  if (typeof special !== 'boolean') {
    throw new LoRAError(`special must be true or false, got ${show(special)}.`);
  }
  checkModel(model);
  checkTokenizer(tokenizer);
  checkTexts(tokens);
  const sites = adaptableSites(model);
  const {layer: embedding} = embeddingAmong(sites, options.layer);
  const [rows] = tableShapeOf(embedding);
  checkTokenizer(tokenizer, rows);
  const vocabulary = tokenizer.get_vocab?.(true) ?? new Map<string, number>();
  const missing = tokens.filter(token => !vocabulary.has(token));
  const first = [...vocabulary.values()].reduce((largest, id) => Math.max(largest, id), -1) + 1;
  const added = missing.map((content, i): AddedToken => ({id: first + i, content, special}));
  const ids = new Map([...vocabulary, ...added.map(({content, id}) => [content, id] as const)]);
  const extended = extendedTokenizer(tokenizer, added);
  const means = added
    .filter(({id}) => id >= rows)
    .map(({content}) => (init === 'mean' ? [] : piecesOf(tokenizer, content)));
  const head = untiedHead(model, sites, rows)?.layer;
  const grown = new Map<tf.layers.Layer, Map<string, tf.Tensor>>();
  try {
    for (const {layer} of means.length === 0 ? [] : sites) {
      if (layer === embedding || layer === head || borrowing(layer)?.lender === embedding) {
        grown.set(layer, withRows(layer, means));
      }
    }
    return {
      model: rebuilt(model, {embedding, head}, grown, rows + means.length),
      tokenizer: extended,
      ids: tokens.map(token => ids.get(token) as number),
    };
  } finally {
    grown.forEach(values => tf.dispose([...values.values()]));
  }
}

function checkTexts(tokens: unknown): asserts tokens is string[] {
  const texts: unknown[] = Array.isArray(tokens) ? tokens : [];
  const isText = (text: unknown) => typeof text === 'string' && text.trim() !== '';
  if (texts.length === 0 || new Set(texts).size !== texts.length || !texts.every(isText)) {
    throw new LoRAError(
      `tokens must be a list of different texts, such as ['<tool>', '</tool>'], got ${show(tokens)}.`,
    );
  }
}

function piecesOf(tokenizer: Pick<Tokenizer, 'encode'>, text: string): readonly number[] {
  const {ids} = tokenizer.encode(text, {add_special_tokens: false});
  // Without an unknown token, tokenizers return no id for unknown text.
  if (ids.length === 0 || !ids.every(Number.isInteger)) {
    throw misfitError(`The tokenizer splits ${show(text)} into no tokens that it knows. Pass {init: 'mean'}.`);
  }
  return ids;
}

/** A layer that stores the rows of tokens in another form than floats, such as blocks, and can add rows. */
interface GrowingLayer {
  /**
   * Its weight with added rows. Each is a copy of the stored row that is closest to the mean of the given rows; an
   * empty list means all rows. Other values might not be representable exactly.
   */
  withRows(means: readonly (readonly number[])[]): {name: string; value: tf.Tensor};
}

/** The weights of a layer with a row more for each list of rows: their mean, of all rows where the list is empty. */
function withRows(layer: tf.layers.Layer, means: readonly (readonly number[])[]): Map<string, tf.Tensor> {
  const stored = 'withRows' in layer ? (layer as tf.layers.Layer & GrowingLayer).withRows(means) : undefined;
  const values = new Map(stored && [[stored.name, stored.value]]);
  for (const [name, variable] of namedWeights(layer)) {
    if (!values.has(name)) {
      values.set(
        name,
        tf.tidy(() => {
          const value = variable.read();
          const axis = name === 'embeddings' ? 0 : value.rank - 1;
          const all = means.some(list => list.length === 0) ? tf.mean(value, axis, true) : undefined;
          const further = means.map(list =>
            list.length === 0 ? (all as tf.Tensor) : tf.mean(tf.gather(value, [...list], axis), axis, true),
          );
          return tf.concat([value, ...further], axis);
        }),
      );
    }
  }
  return values;
}

interface Grown {
  embedding: tf.layers.Layer;
  head: tf.layers.Layer | undefined;
}

/** The model with new weights for some layers, which have this many rows. */
function rebuilt(
  model: tf.LayersModel,
  {embedding, head}: Grown,
  grown: ReadonlyMap<tf.layers.Layer, ReadonlyMap<string, tf.Tensor>>,
  rows: number,
): tf.LayersModel {
  const larger = rewire(model, {
    replace: ({layer}, entry) =>
      layer === embedding || layer === head
        ? {...entry, config: {...entry.config, [layer === head ? 'units' : 'inputDim']: rows}}
        : entry,
    transfer: ({layer}, replacement) => {
      const values = grown.get(layer);
      if (values === undefined) {
        shareWeights(layer, replacement);
      } else {
        namedWeights(replacement).forEach((variable, name) => {
          replaceValue(variable, values.get(name) as tf.Tensor);
        });
      }
      if (!replacement.trainable) {
        replacement.trainable = false; // its variables too, which custom training loops look at
      }
    },
  });
  copyStructure(model, larger);
  markHead(larger, headOf(model));
  const record = hubRecordOf(model) as HubRecord | undefined;
  if (typeof record?.config === 'object' && 'vocab_size' in record.config) {
    const largerRecord: HubRecord = {...record, config: {...record.config, vocab_size: rows}};
    keepTensors(record, largerRecord);
    larger.setUserDefinedMetadata({...larger.getUserDefinedMetadata(), [HUB]: largerRecord});
  }
  return larger;
}
