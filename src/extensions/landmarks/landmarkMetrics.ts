import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions} from '../../platform/errors';
import {type MetricFunction, shareOf, withName} from '../../platform/tfjs/metric';
import {checkSizedLayout, separate, type SizedLayout} from './layout';

/** Options of `percentageOfCorrectKeypoints`. */
export interface PercentageOfCorrectKeypointsOptions extends SizedLayout {
  /** The largest error of a correct landmark, as a fraction of the size. Defaults to 0.1. */
  threshold?: number;
}

/**
 * Returns the normalized mean error as a metric named `nme`: for each example
 * `Σ w·‖prediction − target‖ / (size · Σ w)`, with the weights and the size of `landmarkLoss`. Examples without a
 * visible landmark or without a size do not count. If no example counts, the metric is NaN, and so is its mean over
 * batches.
 *
 * @param options the layout of the landmarks, and what errors are divided by.
 * @returns a metric for `compile`: targets and predictions `[batch, …]` to a scalar.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range; from the metric, if the shapes do not fit.
 * @example
 *     model.compile({optimizer, loss, metrics: [normalizedMeanError({points: 21, size: [0, 9]})]});
 * @experimental
 */
export function normalizedMeanError(options: SizedLayout): MetricFunction {
  checkOptions(options, {points: true, dimensions: true, visibility: true, size: true});
  checkSizedLayout(options);
  return withName('nme', (targets, predictions) =>
    tf.tidy(() => {
      const {distances, shares, sizes} = distancesOf(targets, predictions, options);
      return meanOf(tf.divNoNan(distances, sizes), shares);
    }),
  );
}

/**
 * Returns the percentage of correct keypoints (PCK) as a metric named `pck`, a fraction from 0 to 1: for each example,
 * the weighted fraction of landmarks whose error is at most `threshold · size`. (Yang and Ramanan, "Articulated Human
 * Detection with Flexible Mixtures of Parts", 2013.)
 *
 * @param options the layout of the landmarks, what errors are divided by, and the threshold.
 * @returns a metric for `compile`: targets and predictions `[batch, …]` to a scalar.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range; from the metric, if the shapes do not fit.
 * @example
 *     model.compile({optimizer, loss, metrics: [percentageOfCorrectKeypoints({points: 21, threshold: 0.05})]});
 * @experimental
 */
export function percentageOfCorrectKeypoints(options: PercentageOfCorrectKeypointsOptions): MetricFunction {
  checkOptions(options, {points: true, dimensions: true, visibility: true, size: true, threshold: true});
  const {threshold = 0.1, ...layout} = options;
  checkSizedLayout(layout);
  checkNumber('threshold', threshold, threshold > 0, 'a number above 0');
  return withName('pck', (targets, predictions) =>
    tf.tidy(() => {
      const {distances, shares, sizes} = distancesOf(targets, predictions, layout);
      const isClose = tf.lessEqual(distances, tf.mul(threshold, sizes));
      return meanOf(tf.cast(isClose, 'float32'), shares);
    }),
  );
}

function distancesOf(targets: tf.Tensor, predictions: tf.Tensor, layout: SizedLayout) {
  const {truth, guess, ...layoutParts} = separate(targets, predictions, layout);
  return {distances: tf.norm(tf.sub(guess, truth), 'euclidean', 2) as tf.Tensor2D, ...layoutParts};
}

/** The mean over the examples in which a landmark counts. */
function meanOf(values: tf.Tensor, shares: tf.Tensor2D): tf.Tensor {
  const counts = tf.cast(tf.any(tf.greater(shares, 0), 1), 'float32');
  return shareOf(tf.sum(tf.mul(values, shares)), tf.sum(counts));
}
