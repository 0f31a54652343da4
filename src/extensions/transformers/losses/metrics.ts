import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {type Metric, shareOf, withName} from '../../../platform/tfjs/metric';
import {type CrossEntropyOptions, crossEntropyValue, oneHot, placesOf} from '../ops/crossEntropy';

/** Options of `topKAccuracy`. */
export interface TopKOptions extends CrossEntropyOptions {
  /** Among how many of the most likely classes the target has to be. Default: 5. */
  k?: number;
}

/** Options of `f1Score`. */
export interface F1Options extends CrossEntropyOptions {
  /** The class whose score it is. Default: the mean over the classes that are targets or guesses. */
  positive?: number;
}

/**
 * The share of places whose target is the most likely class, as `acc` and `val_acc` in the logs.
 *
 *     model.compile({optimizer, loss: 'sparseCategoricalCrossentropy', metrics: [accuracy()]});
 *
 * As every metric here it takes whole numbers for targets, `[batch]`, `[batch, 1]` or `[batch, places]`, and logits or
 * probabilities with an axis of classes. What tfjs logs of an epoch is the mean over its batches, weighted by their
 * examples; where nothing counts in a batch, both are NaN.
 *
 * @throws LoRAError if an option is not in its range; from the metric, if the shapes do not fit each other.
 */
export function accuracy(options: CrossEntropyOptions = {}): Metric {
  checkOptions(options, {ignoreIndex: true});
  return metric('acc', options, places => countedShare(tf.equal(tf.argMax(places.rows, -1), places.numbers), places));
}

/**
 * The share of places whose target is among the `k` most likely classes, as `top5` for a `k` of 5. (As `accuracy`.)
 *
 * @throws LoRAError if `k` is no whole number from 1 on; from the metric, if there are fewer classes.
 */
export function topKAccuracy(options: TopKOptions = {}): Metric {
  checkOptions(options, {ignoreIndex: true, k: true});
  const {k = 5} = options;
  checkCount('k', k);
  return metric(`top${k}`, options, places => {
    if (k > places.classes) {
      throw misfitError(`k must be at most the number of classes, ${places.classes}, got ${k}.`);
    }
    const {indices} = tf.topk(places.rows, k, false);
    return countedShare(tf.any(tf.equal(indices, tf.expandDims(places.numbers, -1)), -1), places);
  });
}

/**
 * The F1 score, as `f1`: `2·TP / (2·TP + FP + FN)` of one class, or its mean over classes, as `average='macro'` of
 * scikit-learn. The score of an epoch is the mean of its batches' scores: evaluate in one batch for that of all
 * examples.
 *
 *     compileModel(model, {optimizer, metrics: ['accuracy', f1Score({positive: 1})]});
 *
 * @throws LoRAError if `positive` is no whole number from 0 on; from the metric, if it is no class.
 */
export function f1Score(options: F1Options = {}): Metric {
  checkOptions(options, {ignoreIndex: true, positive: true});
  const {positive} = options;
  if (positive !== undefined) {
    checkNumber('positive', positive, Number.isInteger(positive) && positive >= 0, 'the number of a class');
  }
  return metric('f1', options, ({rows, numbers, counts, classes}) => {
    if (positive !== undefined && positive >= classes) {
      throw misfitError(`positive must be one of the ${classes} classes, counted from 0, got ${positive}.`);
    }
    const weights = tf.expandDims(counts, -1);
    const targets = tf.mul(oneHot(numbers, classes), weights); // [places, classes]
    const guesses = tf.mul(oneHot(tf.argMax(rows, -1), classes), weights);
    const hits = tf.sum(tf.mul(targets, guesses), 0);
    const named = tf.add(tf.sum(targets, 0), tf.sum(guesses, 0)); // 2·TP + FP + FN of each class
    return positive === undefined
      ? shareOf(tf.sum(tf.divNoNan(tf.mul(2, hits), named)), tf.sum(tf.cast(tf.greater(named, 0), 'float32')))
      : tf.squeeze(tf.slice(shareOf(tf.mul(2, hits), named), positive, 1));
  });
}

/**
 * The perplexity of a language model, as `perplexity`: `exp` of the cross-entropy, from logits. That of an epoch is the
 * mean of its batches' and somewhat more than the `exp` of the epoch's loss, which is the perplexity of all of it where
 * its batches have equally many places.
 */
export function perplexity(options: CrossEntropyOptions = {}): Metric {
  checkOptions(options, {ignoreIndex: true});
  const {ignoreIndex = -100} = options;
  return metric('perplexity', options, ({counts}, targets, logits) => {
    const value = tf.exp(crossEntropyValue(targets, logits, ignoreIndex));
    return tf.where(tf.greater(tf.sum(counts), 0), value, NaN);
  });
}

type Places = ReturnType<typeof placesOf>;

/** A metric of places by its name in the logs. */
function metric(
  name: string,
  {ignoreIndex = -100}: CrossEntropyOptions,
  compute: (places: Places, targets: tf.Tensor, predictions: tf.Tensor) => tf.Tensor,
): Metric {
  const measure: Metric = (targets, predictions) =>
    tf.tidy(() => {
      const classes = predictions.shape.at(-1) ?? 0;
      if (classes === 0 || targets.size !== predictions.size / classes) {
        throw misfitError(
          `The targets of the metric "${name}" must be whole numbers, one for each place of the predictions ` +
            `${showShape(predictions.shape)}, got ${showShape(targets.shape)}.`,
        );
      }
      return compute(placesOf(predictions, targets, ignoreIndex), targets, predictions);
    });
  return withName(name, measure);
}

/** The share of the places that count for which something is true. */
function countedShare(isTrue: tf.Tensor, {counts}: Places): tf.Tensor {
  return shareOf(tf.sum(tf.mul(tf.cast(isTrue, 'float32'), counts)), tf.sum(counts));
}

/** The metrics of class indices, by their names. */
export const METRICS = {accuracy, acc: accuracy, f1: f1Score, perplexity} as const;

/** The name of a metric that needs no option but `ignoreIndex`. */
export type MetricName = keyof typeof METRICS;

/**
 * Metrics by their names in a table, with `ignoreIndex`; functions as they are.
 *
 * @param what what the targets are, and which other metrics there are, as an error says it.
 * @throws LoRAError if there is no such name.
 */
export function metricsIn(
  table: Readonly<Partial<Record<MetricName, (options: CrossEntropyOptions) => Metric>>>,
  metrics: readonly (MetricName | Metric)[],
  options: CrossEntropyOptions,
  {targets, others = []}: {targets: string; others?: readonly string[]},
): Metric[] {
  return metrics.map(each => {
    if (typeof each === 'function') {
      return each;
    }
    const make = Object.hasOwn(table, each) ? table[each] : undefined;
    if (make === undefined) {
      throw new LoRAError(
        `There is no metric ${show(each)} for ${targets}. There are ` +
          `${[...Object.keys(table), ...others, 'functions of your own'].join(', ')}.`,
      );
    }
    return make(options);
  });
}
