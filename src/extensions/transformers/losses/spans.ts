import * as tf from '@tensorflow/tfjs';
import {checkOptions, misfitError, showShape} from '../../../platform/errors';
import {type MetricFunction, shareOf, withName} from '../../../platform/tfjs/metric';
import {crossEntropyFromLogits} from '../../../core/ops/crossEntropy';
import type {ClassLossOptions, CrossEntropyOptions} from '../../../core/ops/weightedCrossEntropy';

/**
 * Computes the loss of spans, such as the answer to a question in a text: the mean of two cross-entropies over the
 * positions, for the start and for the end.
 *
 *     loss = ½·(−log softmax(z[:, 0])[start] − log softmax(z[:, 1])[end])
 *
 * Positions beyond the sequence (which was cut off) and `ignoreIndex` do not count. If none counts, that part of the
 * loss is 0, as in transformers.
 *
 * @param targets the first and the last position of each span, `[batch, 2]`.
 * @param logits of a model for question answering, `[batch, positions, 2]`.
 * @param options the target that does not count, `ignoreIndex` (default: -100), label smoothing, focal loss, and a
 *     weight for each span, `[batch]`.
 * @returns the mean over the spans.
 * @throws LoRAError `ERR_MISFIT` if shapes do not fit, `ERR_OPTION` if a target is not a whole number from 0 on.
 * @example
 *     optimizer.minimize(() => spanCrossEntropy(targets, model.apply(inputs)), false, trainableVariables(model));
 * @experimental
 */
export function spanCrossEntropy(
  targets: tf.Tensor,
  logits: tf.Tensor,
  options: Omit<ClassLossOptions, 'classWeights'> = {},
): tf.Scalar {
  const {ignoreIndex = -100} = options;
  checkShapes(targets, logits);
  return tf.tidy(() => {
    const [positions = 0] = logits.shape.slice(1);
    const spans = tf.cast(targets, 'float32');
    const within = tf.where(tf.less(spans, positions), spans, tf.fill(spans.shape, ignoreIndex));
    const [starts, ends] = tf.unstack(within, 1) as [tf.Tensor, tf.Tensor];
    const [startLogits, endLogits] = tf.unstack(logits, 2) as [tf.Tensor, tf.Tensor];
    const losses = [
      crossEntropyFromLogits(starts, startLogits, options),
      crossEntropyFromLogits(ends, endLogits, options),
    ] as const;
    return tf.div<tf.Scalar>(tf.add(...losses), 2);
  });
}

/**
 * Makes a metric of exact matches: the share of spans whose most likely start and end are both correct. The logs call
 * it `acc` and `val_acc`. Spans that are cut off or ignored do not count.
 *
 * @param options the target that does not count, `ignoreIndex`. Default: -100.
 * @returns a metric for `compileModel`.
 * @throws LoRAError `ERR_OPTION` if there is no such option. The metric throws `ERR_MISFIT` if shapes do not fit.
 * @example
 *     compileModel(model, {optimizer, metrics: [spanAccuracy()]});
 * @experimental
 */
export function spanAccuracy(options: CrossEntropyOptions = {}): MetricFunction {
  return spanMetric('acc', options, ({guess, target}) =>
    tf.cast(tf.logicalAnd(tf.equal(guess.start, target.start), tf.equal(guess.end, target.end)), 'float32'),
  );
}

/**
 * Makes a metric of overlap, `f1` in the logs: the mean of `2·shared / (predicted + target)`, in positions. A
 * prediction that ends before it starts scores 0.
 *
 * @param options the target that does not count, `ignoreIndex`. Default: -100.
 * @returns a metric for `compileModel`.
 * @throws LoRAError `ERR_OPTION` if there is no such option. The metric throws `ERR_MISFIT` if shapes do not fit.
 * @example
 *     compileModel(model, {optimizer, metrics: [spanF1()]});
 * @experimental
 */
export function spanF1(options: CrossEntropyOptions = {}): MetricFunction {
  return spanMetric('f1', options, ({guess, target}) => {
    const lengthOf = ({start, end}: Span) => tf.relu(tf.add(tf.sub(end, start), 1));
    const shared = lengthOf({
      start: tf.maximum(guess.start, target.start),
      end: tf.minimum(guess.end, target.end),
    });
    return tf.divNoNan(tf.mul(2, shared), tf.add(lengthOf(guess), lengthOf(target)));
  });
}

export const SPAN_METRICS = {accuracy: spanAccuracy, f1: spanF1} as const;

/** The first and last positions of spans, `[batch]` each. */
interface Span {
  start: tf.Tensor;
  end: tf.Tensor;
}

function spanMetric(
  name: string,
  options: CrossEntropyOptions,
  compute: (spans: {guess: Span; target: Span}) => tf.Tensor,
): MetricFunction {
  checkOptions(options, {ignoreIndex: true});
  const {ignoreIndex = -100} = options;
  const measure: MetricFunction = (targets, logits) =>
    tf.tidy(() => {
      checkShapes(targets, logits);
      const [positions = 0] = logits.shape.slice(1);
      const spans = tf.cast(targets, 'float32');
      const isThere = tf.logicalAnd(tf.less(spans, positions), tf.notEqual(spans, ignoreIndex));
      const counts = tf.cast(tf.all(isThere, 1), 'float32');
      const spanOf = (x: tf.Tensor): Span => {
        const [start, end] = tf.unstack(x, 1) as [tf.Tensor, tf.Tensor];
        return {start, end};
      };
      const guesses = tf.cast(tf.argMax(logits, 1), 'float32'); // [batch, 2]
      const scores = tf.mul(compute({guess: spanOf(guesses), target: spanOf(spans)}), counts);
      return shareOf(tf.sum(scores), tf.sum(counts));
    });
  return withName(name, measure);
}

function checkShapes(targets: tf.Tensor, logits: tf.Tensor): void {
  const [batch, , both] = logits.shape;
  if (logits.rank !== 3 || both !== 2 || targets.rank !== 2 || targets.shape[0] !== batch || targets.shape[1] !== 2) {
    throw misfitError(
      `Spans are [batch, 2], the first and the last position, of logits [batch, positions, 2]; got targets ` +
        `${showShape(targets.shape)} of logits ${showShape(logits.shape)}.`,
    );
  }
}
