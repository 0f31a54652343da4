import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, misfitError, showShape} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {checkModel} from '../../../core/rewire/walk';
import {encodeTexts, type EncodeTextsOptions, type TextInput, type TextTokenizer} from './tokenizer';

/** Options of `embed`. */
export interface EmbedOptions extends CallOptions {
  /** How many texts are computed at a time. Default: 32. */
  batchSize?: number;
  /**
   * Longer texts are truncated to this many tokens. Default: the length of the model's position embedding, if it has
   * one.
   */
  maxLength?: number;
  /** Whether to scale each vector to length 1, so that dot products are cosines. Default: true. */
  normalize?: boolean;
}

/**
 * Computes an embedding for each text: the mean of the model's states over the text's tokens, or the output of the
 * model if that is one vector. Texts of similar length are computed together, so there is little padding.
 *
 * @param model from `loadTransformer`, adapted or not.
 * @param tokenizer the tokenizer of the model.
 * @param texts texts, or pairs of texts.
 * @param options the batch size, the maximum length, normalization, and progress.
 * @returns `[texts, width]`. Dispose of it after use.
 * @throws LoRAError `ERR_MISFIT` if the tokenizer or the output of the model does not match; `ERR_OPTION` if a text is
 *     not a string or an option is out of range; `ERR_ABORTED`.
 * @example
 *     const {model, tokenizer} = await loadTransformer('models/minilm', {pooling: 'mean'});
 *     const vectors = await embed(model, tokenizer, ['a film', 'a movie', 'a tree']); // [3, 384]
 *     const cosines = tf.matMul(vectors, vectors, false, true); // [3, 3]
 * @experimental
 */
export async function embed(
  model: tf.LayersModel,
  tokenizer: TextTokenizer,
  texts: readonly TextInput[],
  options: EmbedOptions = {},
): Promise<tf.Tensor2D> {
  checkOptions(options, {batchSize: true, maxLength: true, normalize: true, signal: true, onProgress: true});
  checkCallOptions(options);
  checkModel(model);
  const {batchSize = 32, maxLength, normalize = true} = options;
  checkCount('batchSize', batchSize);
  const order = texts.map((_, i) => i).sort((one, other) => lengthOf(texts[one]) - lengthOf(texts[other]));
  const step = stepsOf(options);
  const parts: tf.Tensor2D[] = [];
  try {
    for (let from = 0; from < Math.max(order.length, 1); from += batchSize) {
      await step({done: from, total: order.length, what: 'embedding texts'});
      const chosen = order.slice(from, from + batchSize).map(i => texts[i] as TextInput);
      parts.push(tf.tidy(() => pooled(model, tokenizer, chosen, {...(maxLength !== undefined && {maxLength})})));
    }
    await step({done: order.length, total: order.length, what: 'embedding texts'});
    return tf.tidy(() => {
      const sorted = parts.length === 1 ? (parts[0] as tf.Tensor2D) : tf.concat(parts, 0);
      const rows = new Int32Array(order.length);
      order.forEach((i, row) => (rows[i] = row));
      const vectors = tf.gather(sorted, tf.tensor1d(rows, 'int32'));
      return normalize ? tf.divNoNan<tf.Tensor2D>(vectors, tf.norm(vectors, 2, 1, true)) : vectors;
    });
  } finally {
    tf.dispose(parts);
  }
}

function pooled(
  model: tf.LayersModel,
  tokenizer: TextTokenizer,
  texts: readonly TextInput[],
  encoding: EncodeTextsOptions,
): tf.Tensor2D {
  const {inputIds, attentionMask, tokenTypeIds} = encodeTexts(model, tokenizer, texts, encoding);
  const inputs = [inputIds, attentionMask, tokenTypeIds].slice(0, model.inputs.length);
  const [states] = [model.predict(inputs, {batchSize: texts.length})].flat() as [tf.Tensor];
  if (states.rank === 2) {
    return states as tf.Tensor2D;
  }
  if (states.rank !== 3) {
    throw misfitError(
      `The model returns ${showShape(states.shape)}. Embeddings need states, [texts, positions, width], or vectors, ` +
        '[texts, width].',
    );
  }
  const mask = tf.cast(attentionMask, 'float32');
  const [count, positions] = mask.shape;
  const shares = tf.reshape<tf.Rank.R3>(tf.divNoNan(mask, tf.sum(mask, 1, true)), [count, 1, positions]);
  return tf.reshape(tf.matMul(shares, states as tf.Tensor3D), [count, states.shape[2] as number]);
}

function lengthOf(text: TextInput | undefined): number {
  return typeof text === 'string' ? text.length : [text ?? ''].flat().join('').length;
}
