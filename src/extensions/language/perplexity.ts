import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError} from '../../platform/errors';
import {crossEntropyValue} from '../transformers/ops/crossEntropy';
import {checkLanguageTokenizer, type LanguageTokenizer} from './languageTokenizer';
import {checkTokens, languageParts} from './session';

/** How the perplexity of texts is measured. */
export interface PerplexityOptions {
  /** Texts of more tokens are cut. Default: none is. */
  maxLength?: number;
}

/** No token has it: all count. */
const IGNORED = -1;
/** Scores of at most so many places are made at a time. */
const PLACES = 64;

/**
 * How surprised a model is by texts: `exp` of the mean of `−log p` over all tokens but the first of each text, given
 * those before. The smaller, the better.
 *
 * @throws LoRAError if the model is no language model, or no text has two tokens.
 */
export async function perplexity(
  model: tf.LayersModel,
  tokenizer: LanguageTokenizer,
  texts: readonly string[],
  options: PerplexityOptions = {},
): Promise<number> {
  checkOptions(options, {maxLength: true});
  const {maxLength} = options;
  if (maxLength !== undefined) {
    checkCount('maxLength', maxLength);
  }
  checkLanguageTokenizer(tokenizer);
  if (!Array.isArray(texts) || !texts.every(text => typeof text === 'string')) {
    throw new LoRAError(`A list of texts is needed, got ${kindOf(texts)}.`);
  }
  const {states: statesOf, scores: scoresOf, words} = languageParts(model);
  let [sum, count] = [0, 0];
  for (const text of texts as readonly string[]) {
    const ids = tokenizer.encode(text).ids.slice(0, maxLength);
    checkTokens(ids, words);
    if (ids.length < 2) {
      continue;
    }
    const loss = tf.tidy(() => {
      const tokens = tf.tensor2d([ids.slice(0, -1)], undefined, 'int32');
      const states = statesOf([tokens, tf.onesLike(tokens)]);
      const [, places, width] = states.shape;
      const losses: tf.Scalar[] = [];
      for (let first = 0; first < places; first += PLACES) {
        const size = Math.min(PLACES, places - first);
        losses.push(
          tf.tidy(() => {
            const scores = scoresOf(tf.slice3d(states, [0, first, 0], [1, size, width]));
            const targets = tf.tensor1d(ids.slice(first + 1, first + 1 + size), 'int32');
            return tf.mul<tf.Scalar>(crossEntropyValue(targets, scores, IGNORED), size);
          }),
        );
      }
      return tf.addN(losses);
    });
    const [value = NaN] = await loss.data();
    loss.dispose();
    sum += value;
    count += ids.length - 1;
  }
  if (count === 0) {
    throw new LoRAError('Texts of at least two tokens are needed, to tell how well each follows from those before.');
  }
  return Math.exp(sum / count);
}
