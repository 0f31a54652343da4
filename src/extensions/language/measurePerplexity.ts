import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import type {Tokenizer} from '../transformers/load/tokenizer';
import {checkLanguageTokenizer} from './languageTokenizer';
import {sequenceLogProbs} from './logProbs';
import {checkTokens, languageParts} from './session';

/** How the perplexity of texts is measured. */
export interface PerplexityOptions extends CallOptions {
  /** Longer texts are truncated to this many tokens. Default: no text is truncated. */
  maxLength?: number;
}

/**
 * Measures how well a model predicts texts: `exp` of the mean of `−log p` over all tokens except the first of each
 * text, given those before it. Lower is better.
 *
 * @param model a model of `loadGGUF` or `loadTransformer` with a head for the next token, adapted or not.
 * @param tokenizer the tokenizer of the model.
 * @param texts the texts. Those of fewer than two tokens are skipped.
 * @param options the maximum length, and progress.
 * @returns the perplexity, 1 or more.
 * @throws LoRAError `ERR_OPTION` if there is no text of two tokens or an option is out of range, `ERR_MISFIT` if the
 *     model is no language model or the tokenizer does not fit it, `ERR_ABORTED`.
 * @example
 * console.log(await measurePerplexity(model, tokenizer, ['The quick brown fox jumps.'], {maxLength: 512}));
 * @experimental
 */
export async function measurePerplexity(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: PerplexityOptions = {},
): Promise<number> {
  checkOptions(options, {maxLength: true, signal: true, onProgress: true});
  const {maxLength} = options;
  if (maxLength !== undefined) {
    checkCount('maxLength', maxLength);
  }
  checkCallOptions(options);
  checkLanguageTokenizer(tokenizer);
  if (!Array.isArray(texts) || !texts.every(text => typeof text === 'string')) {
    throw new LoRAError(`texts must be a list of texts, got ${kindOf(texts)}.`);
  }
  const {states: statesOf, head, vocabulary} = languageParts(model);
  const step = stepsOf(options);
  let [sum, count] = [0, 0];
  for (const [done, text] of (texts as readonly string[]).entries()) {
    await step({done, total: texts.length, what: 'measuring texts'});
    const ids = tokenizer.encode(text).ids.slice(0, maxLength);
    checkTokens(ids, vocabulary);
    if (ids.length < 2) {
      continue;
    }
    const loss = tf.tidy(() => {
      const tokens = tf.tensor2d([ids.slice(0, -1)], undefined, 'int32');
      const states = statesOf([tokens, tf.onesLike(tokens)]);
      const [logProb] = sequenceLogProbs([tf.tensor2d([ids.slice(1)], undefined, 'int32')], states, head);
      return tf.neg(logProb as tf.Tensor1D);
    });
    const [value = NaN] = await loss.data();
    loss.dispose();
    sum += value;
    count += ids.length - 1;
  }
  await step({done: texts.length, total: texts.length, what: 'measuring texts'});
  if (count === 0) {
    throw new LoRAError('No text has two tokens, and the first of a text is not predicted. Pass longer texts.');
  }
  return Math.exp(sum / count);
}
