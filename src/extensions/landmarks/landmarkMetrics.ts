import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions} from '../../platform/errors';
import {type Metric, shareOf, withName} from '../../platform/tfjs/metric';
import {checkSizedLayout, separate, type SizedLayout} from './layout';

/** Options of `correctKeypoints`. */
export interface CorrectKeypointsOptions extends SizedLayout {
  /** How far off a landmark may be, as a share of the size. Default: 0.1. */
  threshold?: number;
}

/**
 * The normalised mean error, as `nme`: of each example `Σ w·‖prediction − target‖ / (size · Σ w)`, with the weights and
 * the size of `landmarkLoss`. Examples without a visible landmark, or without a size, do not count; without any other
 * it is NaN, and so is the mean over batches.
 *
 *     model.compile({optimizer, loss, metrics: [normalizedMeanError({points: 21, size: [0, 9]})]});
 *
 * @throws LoRAError if an option is not in its range; from the metric, if the shapes do not fit each other.
 */
export function normalizedMeanError(options: SizedLayout): Metric {
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
 * The share of landmarks that are in their place (PCK), as `pck`: of each example the share of its weights whose
 * landmarks are off by `threshold · size` at most. (Yang and Ramanan, "Articulated Human Detection with Flexible
 * Mixtures of Parts", 2013.)
 *
 * @throws LoRAError as `normalizedMeanError`.
 */
export function correctKeypoints(options: CorrectKeypointsOptions): Metric {
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
  const {truth, guess, ...others} = separate(targets, predictions, layout);
  return {distances: tf.norm(tf.sub(guess, truth), 'euclidean', 2) as tf.Tensor2D, ...others};
}

/** The mean over the examples in which a landmark counts. */
function meanOf(values: tf.Tensor, shares: tf.Tensor2D): tf.Tensor {
  const counts = tf.cast(tf.any(tf.greater(shares, 0), 1), 'float32');
  return shareOf(tf.sum(tf.mul(values, shares)), tf.sum(counts));
}
