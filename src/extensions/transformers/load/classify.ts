import type * as tf from '@tensorflow/tfjs';
import {checkOptions} from '../../../platform/errors';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {type ClassScore, classScores, type ClassScoreOptions} from './classes';
import {checkTexts, checkTokenizer, encodeTexts, type TextInput, type Tokenizer} from './tokenizer';
import {shortestFirst} from './shortestFirst';

/** Options of `classify`. */
export interface ClassifyOptions extends ClassScoreOptions {
  /** How many texts are computed at a time. Default: 32. */
  batchSize?: number;
  /** Longer texts are truncated to this many tokens. Default: the length of the model's position embedding, if any. */
  maxLength?: number;
}

/**
 * Classifies texts: for each, the most likely classes and their scores, by the names of the model's config.
 *
 * Scores are the softmax of the logits or, if the config's `problem_type` is `"multi_label_classification"` or there is
 * one class, their sigmoid. A head that ends in a softmax or sigmoid is taken as it is.
 *
 * @param model from `loadTransformer`, adapted or not. After `replaceHead`, pass the `labels`.
 * @param tokenizer the tokenizer of the model.
 * @param texts texts, or pairs of texts.
 * @param options the names of the classes, how many to return, the batch size, the maximum length, and progress.
 * @returns a list for each text, the best class first.
 * @throws LoRAError `ERR_MISFIT` if the output of the model is not of classes, or the tokenizer does not match;
 *     `ERR_OPTION` if a text is not a string, an option is out of range, or the names of the classes are not known;
 *     `ERR_ABORTED`.
 * @example
 *     const [best] = await classify(model, tokenizer, ['What a film!']); // [{label: 'positive', score: 0.98}, …]
 * @experimental
 */
export async function classify(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode' | 'get_vocab'>,
  texts: readonly TextInput[],
  options: ClassifyOptions = {},
): Promise<ClassScore[][]> {
  checkOptions(options, {
    ...{labels: true, topK: true, batchSize: true, maxLength: true, signal: true, onProgress: true},
  });
  checkModel(model);
  checkTokenizer(tokenizer);
  checkTexts(texts);
  const {maxLength, batchSize = 32} = options;
  const order = shortestFirst(texts);
  const scores = await classScores(model, order.map(i => texts[i] as TextInput), {...options, batchSize}, {
    encode: batch => Promise.resolve(encodeTexts(model, tokenizer, batch, maxLength === undefined ? {} : {maxLength})),
    what: 'classifying texts',
  }); // prettier-ignore
  const results: ClassScore[][] = [];
  order.forEach((i, row) => (results[i] = scores[row] as ClassScore[]));
  return results;
}
