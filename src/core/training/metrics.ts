import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {type MetricFunction, shareOf, withName} from '../../platform/tfjs/metric';
import {crossEntropySums} from '../ops/crossEntropy';
import {oneHot, positionsOf} from '../ops/positions';
import type {CrossEntropyOptions} from '../ops/weightedCrossEntropy';

/** Options of `accuracy`. */
export interface AccuracyOptions extends CrossEntropyOptions {
  /** How many of the most likely classes may contain the target. Default: 1. */
  topK?: number;
}

/** Options of `f1Score`. */
export interface F1Options extends CrossEntropyOptions {
  /** The class whose score it is. Default: the mean over the classes that are targets or guesses. */
  positive?: number;
}

/**
 * Makes a metric of accuracy: the share of positions whose target is the most likely class, or with `topK` among that
 * many. The logs call it `acc` and `val_acc`, for a `topK` of 5 `top5` and `val_top5`.
 *
 * Like every metric of class indices, it takes targets `[batch]`, `[batch, 1]` or `[batch, positions]`, and logits or
 * probabilities with a last axis of classes. tfjs logs the mean over the batches of an epoch, weighted by their
 * examples. If no position of a batch counts, the value is NaN.
 *
 * @param options `topK`, and the target that does not count, `ignoreIndex`. Default: -100.
 * @returns a metric for `model.compile` or `compileModel`.
 * @throws LoRAError `ERR_OPTION` if there is no such option, or `topK` is not a whole number from 1 on. The metric
 *     throws `ERR_MISFIT` if shapes do not fit, or there are fewer classes.
 * @example
 *     model.compile({optimizer, loss: 'sparseCategoricalCrossentropy', metrics: [accuracy(), accuracy({topK: 5})]});
 */
export function accuracy(options: AccuracyOptions = {}): MetricFunction {
  checkOptions(options, {ignoreIndex: true, topK: true});
  const {topK = 1} = options;
  checkCount('topK', topK);
  return metric(topK === 1 ? 'acc' : `top${topK}`, options, positions => {
    const {rows, numbers, classes} = positions;
    if (topK > classes) {
      throw misfitError(`topK must be at most the number of classes, ${classes}, got ${topK}.`);
    }
    const isFound =
      topK === 1
        ? tf.equal(tf.argMax(rows, -1), numbers)
        : tf.any(tf.equal(tf.topk(rows, topK, false).indices, tf.expandDims(numbers, -1)), -1);
    return [tf.sum(tf.mul(tf.cast(isFound, 'float32'), positions.counts)), tf.sum(positions.counts)];
  });
}

/**
 * Makes a metric of the F1 score, `f1` in the logs: `2·TP / (2·TP + FP + FN)` of one class, or its mean over classes,
 * like `average='macro'` of scikit-learn. An epoch's score is the mean of its batches' scores. To score all examples
 * together, evaluate them in one batch.
 *
 * @param options the class that is scored, `positive`, and the target that does not count.
 * @returns a metric for `model.compile` or `compileModel`.
 * @throws LoRAError `ERR_OPTION` if `positive` is not a whole number from 0 on. The metric throws `ERR_MISFIT` if it is
 *     not a class.
 * @example
 *     compileModel(model, {optimizer, metrics: ['accuracy', f1Score({positive: 1})]});
 */
export function f1Score(options: F1Options = {}): MetricFunction {
  checkOptions(options, {ignoreIndex: true, positive: true});
  const {positive} = options;
  if (positive !== undefined) {
    checkNumber('positive', positive, Number.isInteger(positive) && positive >= 0, 'the number of a class');
  }
  const sumsOf: SumsOf = ({rows, numbers, counts, classes}) => {
    if (positive !== undefined && positive >= classes) {
      throw misfitError(`positive must be one of the ${classes} classes, counted from 0, got ${positive}.`);
    }
    const weights = tf.expandDims(counts, -1);
    const targets = tf.mul(oneHot(numbers, classes), weights); // [positions, classes]
    const guesses = tf.mul(oneHot(tf.argMax(rows, -1), classes), weights);
    // Hits, and 2·TP + FP + FN of each class.
    return [tf.sum(tf.mul(targets, guesses), 0), tf.add(tf.sum(targets, 0), tf.sum(guesses, 0))];
  };
  return metric('f1', options, sumsOf, (hits, named) =>
    positive === undefined
      ? shareOf(tf.sum(tf.divNoNan(tf.mul(2, hits), named)), tf.sum(tf.cast(tf.greater(named, 0), 'float32')))
      : tf.squeeze(tf.slice(shareOf(tf.mul(2, hits), named), positive, 1)),
  );
}

/**
 * Makes a metric of perplexity, `exp` of the cross-entropy from logits. An epoch's value is the mean over its batches.
 * It is slightly larger than `exp` of the epoch's loss, which is the perplexity of the whole epoch if all batches have
 * the same number of positions.
 *
 * @param options the target that does not count, `ignoreIndex`. Default: -100.
 * @returns a metric for `model.compile` or `compileModel`.
 * @throws LoRAError `ERR_OPTION` if there is no such option. The metric throws `ERR_MISFIT` if shapes do not fit.
 * @example
 *     compileModel(model, {optimizer, metrics: [perplexity()]});
 * @experimental
 */
export function perplexity(options: CrossEntropyOptions = {}): MetricFunction {
  checkOptions(options, {ignoreIndex: true});
  const {ignoreIndex = -100} = options;
  const sumsOf: SumsOf = ({rows, counts}, targets) => {
    const [row, logits] = [tf.reshape(targets, [1, -1]), tf.expandDims(rows, 0)];
    return [tf.sum(crossEntropySums([row], logits, ignoreIndex)), tf.sum(counts)];
  };
  return metric('perplexity', options, sumsOf, (sum, count) => tf.exp(shareOf(sum, count)));
}

type Positions = ReturnType<typeof positionsOf>;

type SumsOf = (positions: Positions, targets: tf.Tensor) => readonly [tf.Tensor, tf.Tensor];

/** A metric as sums over positions and what is made of them, so that positions can be measured in parts. */
export interface MetricOfSums {
  readonly sumsOf: (targets: tf.Tensor, predictions: tf.Tensor) => readonly [tf.Tensor, tf.Tensor];
  readonly valueOf: (one: tf.Tensor, other: tf.Tensor) => tf.Tensor;
}

const ofSums = new WeakMap<MetricFunction, MetricOfSums>();

/** The parts of a metric that was made here. */
export function sumsOfMetric(measure: MetricFunction): MetricOfSums | undefined {
  return ofSums.get(measure);
}

/** A metric over positions, by its name in the logs. By default it is the share of two sums. */
function metric(
  name: string,
  {ignoreIndex = -100}: CrossEntropyOptions,
  compute: SumsOf,
  valueOf: MetricOfSums['valueOf'] = shareOf,
): MetricFunction {
  const sumsOf = (targets: tf.Tensor, predictions: tf.Tensor) => {
    const classes = predictions.shape.at(-1) ?? 0;
    if (classes === 0 || targets.size !== predictions.size / classes) {
      throw misfitError(
        `The targets of the metric "${name}" must be whole numbers, one for each position of the predictions ` +
          `${showShape(predictions.shape)}, got ${showShape(targets.shape)}.`,
      );
    }
    return compute(positionsOf(predictions, targets, ignoreIndex), targets);
  };
  const measure = withName(name, (targets, predictions) => tf.tidy(() => valueOf(...sumsOf(targets, predictions))));
  ofSums.set(measure, {sumsOf, valueOf});
  return measure;
}

/** The metrics of class indices by name. */
export const METRICS = {accuracy, acc: accuracy, f1: f1Score, perplexity} as const;

/** Metrics of Keras, which tfjs computes. The loss and the output decide which accuracy is meant. */
const KERAS_METRICS = [
  ...(['accuracy', 'acc', 'crossentropy', 'ce', 'binaryAccuracy', 'categoricalAccuracy', 'precision'] as const),
  ...(['categoricalCrossentropy', 'sparseCategoricalCrossentropy', 'cosine'] as const),
  ...(['mse', 'MSE', 'mae', 'MAE', 'mape', 'MAPE'] as const),
] as const;

/** The name of a metric, of this library or of Keras. */
export type MetricName = 'accuracy' | 'acc' | 'f1' | 'perplexity' | (typeof KERAS_METRICS)[number];

/** @throws LoRAError if metrics, in any form that `model.compile` takes, have a name that Keras does not have. */
export function checkKerasMetrics(metrics: unknown): asserts metrics is NonNullable<tf.ModelCompileArgs['metrics']> {
  if (typeof metrics === 'object' && metrics !== null) {
    Object.values(metrics).forEach(checkKerasMetrics);
  } else if (typeof metrics !== 'function' && !(KERAS_METRICS as readonly unknown[]).includes(metrics)) {
    throw new LoRAError(
      `There is no metric ${show(metrics)} for a loss of Keras. There are ${KERAS_METRICS.join(', ')}, and functions ` +
        'of your own.',
    );
  }
}

/** Resolves names of metrics for a function as loss: those of class indices, else of Keras. */
export function metricsOfFunction(
  metrics: readonly (MetricName | MetricFunction)[],
  options: CrossEntropyOptions,
): (string | MetricFunction)[] {
  return metrics.flatMap((metric): (string | MetricFunction)[] =>
    typeof metric === 'string' &&
    !Object.hasOwn(METRICS, metric) &&
    (KERAS_METRICS as readonly string[]).includes(metric)
      ? [metric]
      : metricsIn(METRICS, [metric], options, {targets: 'class indices', alternatives: ['those of Keras']}),
  );
}

/**
 * Resolves names of metrics in a table, passing `ignoreIndex`; functions stay.
 *
 * @param what what the targets are, and which other metrics there are, for errors.
 * @throws LoRAError if a name is unknown.
 */
export function metricsIn(
  table: Readonly<Partial<Record<MetricName, (options: CrossEntropyOptions) => MetricFunction>>>,
  metrics: readonly (MetricName | MetricFunction)[],
  options: CrossEntropyOptions,
  {targets, alternatives = []}: {targets: string; alternatives?: readonly string[] | undefined},
): MetricFunction[] {
  return metrics.map(metric => {
    if (typeof metric === 'function') {
      return metric;
    }
    const make = Object.hasOwn(table, metric) ? table[metric] : undefined;
    if (make === undefined) {
      throw new LoRAError(
        `There is no metric ${show(metric)} for ${targets}. There are ` +
          `${[...Object.keys(table), ...alternatives, 'functions of your own'].join(', ')}.`,
      );
    }
    return make(options);
  });
}
