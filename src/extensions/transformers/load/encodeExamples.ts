import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, show, unsupportedError} from '../../../platform/errors';
import type {SeededBatches} from '../../../core/training/seededBatches';
import {classesOf, type ModelClasses} from './classes';
import {checkRecords, TEXT_BATCH_OPTIONS, type TextBatchOptions, textBatches} from './textBatches';
import {checkTokenizer, isText, type TextInput, type Tokenizer} from './tokenizer';

/** A text, or a pair of texts, and its class. */
export interface TextExample {
  /** The text, or `[first, second]`. */
  text: TextInput;
  /** The name of the class in the model's config, or its index. */
  label: string | number;
}

/** Options of `encodeExamples`. */
export interface EncodeExamplesOptions extends TextBatchOptions {
  /** The names of the classes, in the order of the model's outputs. Default: those of the model's config. */
  labels?: readonly string[];
}

/**
 * Encodes texts and their classes as batches for `fitDataset`: the inputs of the model, and as targets class indices,
 * as the loss of `compileModel` takes them. The order follows from the seed and the epoch, as in `seededBatches`.
 *
 * @param model the model to train, adapted or not, with a head for the classes. After `replaceHead`, pass the `labels`,
 *     or examples with class indices.
 * @param tokenizer the tokenizer of the model.
 * @param records texts with the name or index of their class.
 * @param options the longest text, the batch size, the seed, the names of the classes, and progress.
 * @returns batches with `xs`, the model's inputs, and `ys`, `[batch]` int32.
 * @throws LoRAError `ERR_OPTION` with a line for each record and field that is wrong, or if an option is out of range;
 *     `ERR_MISFIT` if the output of the model is not of classes, or the tokenizer does not match; `ERR_UNSUPPORTED` if
 *     a text may have several classes (`problem_type`); `ERR_ABORTED`.
 * @example
 *     const data = await encodeExamples(model, tokenizer, [{text: 'What a film!', label: 'positive'}], {seed: 1});
 *     await model.fitDataset(data, {epochs: 3});
 * @experimental
 */
export async function encodeExamples(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode'>,
  records: readonly TextExample[],
  options: EncodeExamplesOptions = {},
): Promise<SeededBatches> {
  checkOptions(options, {...TEXT_BATCH_OPTIONS, labels: true});
  const classes = classesOf(model, options.labels);
  if (classes.isMultiLabel) {
    throw unsupportedError(
      'The problem_type of the config is "multi_label_classification", and an example has one label. Encode texts with ' +
        'encodeTexts, and train with {loss: tf.losses.sigmoidCrossEntropy} and targets of 0 and 1, [batch, classes].',
    );
  }
  checkTokenizer(tokenizer);
  checkRecords(records, "{text: 'a text', label: 0}", ({text, label}) => [
    ...(isText(text) ? [] : [`text must be a string or a pair of strings, got ${kindOf(text)}`]),
    ...labelFaults(label, classes),
  ]);
  const labels = records.map(({label}) => (typeof label === 'number' ? label : (classes.names ?? []).indexOf(label)));
  const texts = records.map(({text}) => [text]);
  return textBatches(model, tokenizer, texts, options, indices => {
    const targets = Array.from(indices, i => labels[i] as number);
    return tf.tensor1d(targets, 'int32');
  });
}

function labelFaults(label: unknown, {count, names}: ModelClasses): string[] {
  if (typeof label === 'number') {
    const isIndex = Number.isInteger(label) && label >= 0 && label < count;
    return isIndex ? [] : [`label must be a class from 0 to ${count - 1}, got ${show(label)}`];
  }
  if (typeof label !== 'string') {
    return [`label must be the name of a class or its index, got ${kindOf(label)}`];
  }
  if (names === undefined) {
    return [
      `label is ${show(label)}, but the names of the model's ${count} classes are not known. Pass them as labels`,
    ];
  }
  return names.includes(label) ? [] : [`label must be one of ${names.map(show).join(', ')}, got ${show(label)}`];
}
