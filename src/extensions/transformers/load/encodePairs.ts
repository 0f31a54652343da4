import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, misfitError, showShape} from '../../../platform/errors';
import {checkModel} from '../../../platform/tfjs/checkModel';
import type {SeededBatches} from '../../../core/training/seededBatches';
import {checkEmbeddingOutput} from './embed';
import {checkRecords, TEXT_BATCH_OPTIONS, type TextBatchOptions, textBatches} from './textBatches';
import {checkTokenizer, type Tokenizer} from './tokenizer';

/** Two texts whose embeddings should be close, such as a question and its answer. */
export interface TextPair {
  /** The text that has to find the other one, such as a question. */
  anchor: string;
  /** The text that belongs to it. */
  positive: string;
  /** Texts that are similar but wrong: hard negatives. The other positives of a batch are negatives too. */
  negative?: string | readonly string[];
}

/**
 * Encodes pairs of texts as batches for `fitDataset`, for a model that `compileModel(model, {loss: 'ranking'})`
 * compiled. The order follows from the seed and the epoch, as in `seededBatches`.
 *
 * The larger the batch, the more negatives each anchor has. Equal texts in a batch count as negatives of each other.
 *
 * @param model the model to train, adapted or not. It returns a vector for each text: load it with `{pooling}`.
 * @param tokenizer the tokenizer of the model.
 * @param records pairs, with any number of negatives each.
 * @param options the longest text, the batch size, the seed, and progress.
 * @returns batches with `xs`, the model's inputs for n anchors, n positives, and all negatives of a batch; and `ys`,
 *     `[texts, n]`: 1 where a text is the positive of an anchor.
 * @throws LoRAError `ERR_OPTION` with a line for each record and field that is wrong, or if an option is out of range;
 *     `ERR_MISFIT` if the model returns no vectors, the tokenizer does not match, or there is nothing to learn from
 *     because no anchor has a negative; `ERR_ABORTED`.
 * @example
 *     const pairs = [{anchor: 'How tall is it?', positive: 'It is 8 m tall.', negative: 'It is 8 years old.'}];
 *     await model.fitDataset(await encodePairs(model, tokenizer, pairs, {seed: 1}), {epochs: 1});
 * @experimental
 */
export async function encodePairs(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode'>,
  records: readonly TextPair[],
  options: TextBatchOptions = {},
): Promise<SeededBatches> {
  checkOptions(options, TEXT_BATCH_OPTIONS);
  checkModel(model);
  checkEmbeddingOutput(model);
  const {shape} = model.outputs[0] as tf.SymbolicTensor;
  if (shape.length !== 2) {
    throw misfitError(
      `The model returns the states of all positions, ${showShape(shape)}. Load it with a pooling, so that it returns ` +
        "a vector for each text: loadTransformer(folder, {pooling: 'mean'}).",
    );
  }
  checkTokenizer(tokenizer);
  checkRecords(records, "{anchor: 'a question', positive: 'its answer'}", ({anchor, positive, negative = []}) => [
    ...(typeof anchor === 'string' ? [] : [`anchor must be a string, got ${kindOf(anchor)}`]),
    ...(typeof positive === 'string' ? [] : [`positive must be a string, got ${kindOf(positive)}`]),
    ...([negative].flat().every(text => typeof text === 'string')
      ? []
      : [`negative must be a string or a list of strings, got ${kindOf(negative)}`]),
  ]);
  const texts = records.map(({anchor, positive, negative = []}) => [anchor, positive, ...[negative].flat()]);
  if (Math.min(options.batchSize ?? Infinity, records.length) === 1 && !texts.some(({length}) => length > 2)) {
    throw misfitError(
      'With one pair in a batch and no negatives, there is nothing to tell apart. Pass several pairs and a larger ' +
        'batchSize, or negatives.',
    );
  }
  return textBatches(model, tokenizer, texts, options, ({length: pairs}, rows) => {
    const targets = new Int32Array(rows * pairs);
    for (let i = 0; i < pairs; i++) {
      targets[(pairs + i) * pairs + i] = 1;
    }
    return tf.tensor2d(targets, [rows, pairs], 'int32');
  });
}
