import * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../../core/layers/wrapperLayer';
import {checkOptions, misfitError, show, showShape, throwFaults} from '../../../platform/errors';
import {checkModel, sitesOf} from '../../../core/rewire/walk';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {EmbeddingLayer} from '../../../platform/tfjs/layerFields';
import {PositionEmbedding} from '../layers/addedEmbeddings';
import {encodeTexts, type EncodeTextsOptions, type TextInput, type TextTokenizer} from './tokenizer';

/** How texts are embedded. */
export interface EmbedOptions {
  /** How many texts are computed at a time. Default: 32. */
  batchSize?: number;
  /** Texts of more tokens are cut. Default: what the model's table of places holds. */
  maxLength?: number;
  /** Give each vector the length 1, so that a product of two is the cosine of their angle. Default: true. */
  normalize?: boolean;
}

/**
 * A vector for each text, `[texts, width]`: the mean of the model's states over the text's tokens, or what the model
 * gives if that is one vector already. Texts of like length are computed together, so that little is filled up.
 *
 * @param model from `loadTransformer`, adapted or not.
 * @throws LoRAError if the tokenizer does not fit the model, or a text is not a string.
 */
export function embed(
  model: tf.LayersModel,
  tokenizer: TextTokenizer,
  texts: readonly TextInput[],
  options: EmbedOptions = {},
): tf.Tensor2D {
  checkOptions(options, {batchSize: true, maxLength: true, normalize: true});
  checkModel(model);
  const {batchSize = 32, normalize = true} = options;
  throwFaults(
    Number.isInteger(batchSize) && batchSize > 0
      ? []
      : [`batchSize must be a positive integer, got ${show(batchSize)}.`],
  );
  const {vocabulary, places} = limitsOf(model);
  const maxLength = Math.min(options.maxLength ?? Infinity, places);
  const encoding: EncodeTextsOptions = {
    ...(vocabulary !== undefined && {vocabulary}),
    ...(maxLength < Infinity && {maxLength}),
  };
  return tf.tidy(() => {
    const order = texts.map((_, i) => i).sort((one, other) => lengthOf(texts[one]) - lengthOf(texts[other]));
    const parts: tf.Tensor2D[] = [];
    for (let from = 0; from < Math.max(order.length, 1); from += batchSize) {
      const chosen = order.slice(from, from + batchSize).map(i => texts[i] as TextInput);
      parts.push(tf.tidy(() => pooled(model, tokenizer, chosen, encoding)));
    }
    const sorted = parts.length === 1 ? (parts[0] as tf.Tensor2D) : tf.concat(parts, 0);
    const places = new Int32Array(order.length);
    order.forEach((i, place) => (places[i] = place));
    const vectors = tf.gather(sorted, tf.tensor1d(places, 'int32'));
    return normalize ? tf.divNoNan<tf.Tensor2D>(vectors, tf.norm(vectors, 2, 1, true)) : vectors;
  });
}

function pooled(
  model: tf.LayersModel,
  tokenizer: TextTokenizer,
  texts: readonly TextInput[],
  encoding: EncodeTextsOptions,
): tf.Tensor2D {
  const {inputIds, attentionMask, tokenTypeIds} = encodeTexts(tokenizer, texts, encoding);
  const inputs = [inputIds, attentionMask, tokenTypeIds].slice(0, model.inputs.length);
  const [states] = [model.predict(inputs, {batchSize: texts.length})].flat() as [tf.Tensor];
  if (states.rank === 2) {
    return states as tf.Tensor2D;
  }
  if (states.rank !== 3) {
    throw misfitError(
      `The model gives ${showShape(states.shape)}, and states, [texts, places, width], or vectors, [texts, width], ` +
        'can be embeddings.',
    );
  }
  const mask = tf.cast(attentionMask, 'float32');
  const [count, places] = mask.shape;
  const shares = tf.reshape<tf.Rank.R3>(tf.divNoNan(mask, tf.sum(mask, 1, true)), [count, 1, places]);
  return tf.reshape(tf.matMul(shares, states as tf.Tensor3D), [count, states.shape[2] as number]);
}

/** How many words and places a model has, as far as its layers tell. */
function limitsOf(model: tf.LayersModel): {vocabulary: number | undefined; places: number} {
  let vocabulary: number | undefined;
  let places = Infinity;
  for (const {layer} of sitesOf(model)) {
    const base = baseOf(layer);
    if (base.getClassName() === 'Embedding') {
      vocabulary ??= fieldsOf<EmbeddingLayer>(base).inputDim;
    } else if (base.getClassName() === PositionEmbedding.className) {
      const {rows, offset} = fieldsOf<{rows: number; offset: number}>(base);
      places = Math.min(places, rows - offset);
    }
  }
  return {vocabulary, places};
}

function lengthOf(text: TextInput | undefined): number {
  return typeof text === 'string' ? text.length : [text ?? ''].flat().join('').length;
}
