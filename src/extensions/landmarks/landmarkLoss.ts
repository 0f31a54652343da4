import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, show, throwFaults} from '../../platform/errors';
import {checkSizedLayout, separate, type SizedLayout} from './layout';

/** Options of `landmarkLoss`. */
export interface LandmarkLossOptions extends SizedLayout {
  /**
   * How errors are weighed: `'smoothL1'` is quadratic near zero and linear beyond, `'wing'` is steepest near zero, so
   * that small errors keep counting. Defaults to `'smoothL1'`.
   */
  kind?: 'smoothL1' | 'wing';
  /** For `'smoothL1'`: the error, as a fraction of the size, at which it becomes linear. Defaults to 0.05. */
  beta?: number;
  /** For `'wing'`: the error, as a fraction of the size, at which it becomes linear. Defaults to 0.1. */
  width?: number;
  /** For `'wing'`: how close to zero it bends, as a fraction of the size. Defaults to 0.02. */
  curvature?: number;
}

/**
 * Returns a loss for landmarks.
 *
 * For each example `Σ w·ρ(e) / (dimensions · Σ w)`, with the errors `e = (prediction − target) / size` of each
 * coordinate, a landmark's weight `w` (its visibility, or 1 if none is given; 0 where that or a coordinate of the
 * target is NaN), and
 *
 * - smooth L1: `ρ(e) = e² / 2β` for `|e| < β`, else `|e| − β/2` (Girshick, "Fast R-CNN", arXiv 1504.08083);
 * - wing: `ρ(e) = ω·ln(1 + |e|/ε)` for `|e| < ω`, else `|e| − ω + ω·ln(1 + ω/ε)`, with the width `ω` and the curvature
 *   `ε` (Feng et al., "Wing Loss", arXiv 1711.06753).
 *
 * Targets and predictions are `[batch, points · values]` or `[batch, points, values]`. An example without a visible
 * landmark, or without a size, has a loss of 0.
 *
 * @param options the layout of the landmarks, what errors are divided by, and the kind of loss.
 * @returns a loss for `compile`, `[batch]`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range; from the loss, if the shapes do not fit.
 * @example
 *     model.compile({optimizer, loss: landmarkLoss({points: 21, dimensions: 3})});
 * @experimental
 */
export function landmarkLoss(
  options: LandmarkLossOptions,
): (targets: tf.Tensor, predictions: tf.Tensor) => tf.Tensor1D {
  checkOptions(options, {
    ...{points: true, dimensions: true, visibility: true, size: true},
    ...{kind: true, beta: true, width: true, curvature: true},
  });
  const {kind = 'smoothL1', beta = 0.05, width = 0.1, curvature = 0.02, ...layout} = options;
  checkSizedLayout(layout);
  if (!['smoothL1', 'wing'].includes(kind)) {
    throw new LoRAError(`kind must be 'smoothL1' or 'wing', got ${show(kind)}.`);
  }
  const ignored = kind === 'wing' ? (['beta'] as const) : (['width', 'curvature'] as const);
  throwFaults(
    ignored
      .filter(name => options[name] !== undefined)
      .map(name => `${name} is for kind: '${kind === 'wing' ? 'smoothL1' : 'wing'}', and has no effect here.`),
  );
  for (const [name, value] of Object.entries({beta, width, curvature})) {
    checkNumber(name, value, value > 0, 'a number above 0');
  }
  const bend = (errors: tf.Tensor3D): tf.Tensor3D => {
    const near = tf.clipByValue(errors, 0, kind === 'wing' ? width : beta);
    return kind === 'wing'
      ? tf.add(tf.mul(width, tf.log1p(tf.div(near, curvature))), tf.sub(errors, near))
      : tf.mul(tf.div(near, beta), tf.sub(errors, tf.div(near, 2)));
  };
  return (targets, predictions) =>
    tf.tidy(() => {
      const {truth, guess, shares, sizes} = separate(targets, predictions, layout);
      const scales = tf.expandDims(tf.divNoNan(1, sizes), 2);
      const errors = tf.mul<tf.Tensor3D>(tf.sub(guess, truth), scales);
      // The gradient of tf.abs at 0 is −1; this one is 0.
      const lengths = tf.mul<tf.Tensor3D>(errors, tf.sign(errors));
      return tf.sum(tf.mul(tf.mean(bend(lengths), 2), shares), 1);
    });
}
