import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, misfitError, showShape} from '../../platform/errors';

/** Options of `focalLoss`. */
export interface FocalLossOptions {
  /** The weight of targets of 1, from 0 to 1; that of targets of 0 is `1 - alpha`. Default: both 1. */
  alpha?: number;
  /** The exponent that reduces the weight of confident outputs. 0 is the cross-entropy. Default: 2. */
  gamma?: number;
}

/**
 * Makes the focal loss of independent yes-or-no outputs (https://arxiv.org/abs/1708.02002), for labels that are rare:
 *
 *     loss = −αₜ · (1 − pₜ)^γ · log pₜ
 *
 * where `p = sigmoid(z)`, and `pₜ` is `p` for targets of 1 and `1 − p` for targets of 0. It is `sigmoid_focal_loss` of
 * torchvision, as a mean over the outputs of each example. For mutually exclusive classes, use `focalGamma` of
 * `compileModel`.
 *
 * @param options `alpha` and `gamma`.
 * @returns a loss of targets and logits of one shape, for `model.compile` and `compileModel`:
 *     `[batch, …, outputs]` → `[batch, …]`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range. The loss throws `ERR_MISFIT` if shapes differ.
 * @example
 *     model.compile({optimizer: adam(), loss: focalLoss({alpha: 0.25})});
 * @experimental
 */
export function focalLoss(options: FocalLossOptions = {}): (targets: tf.Tensor, logits: tf.Tensor) => tf.Tensor {
  checkOptions(options, {alpha: true, gamma: true});
  const {alpha, gamma = 2} = options;
  if (alpha !== undefined) {
    checkNumber('alpha', alpha, alpha >= 0 && alpha <= 1, 'a number from 0 to 1');
  }
  checkNumber('gamma', gamma, gamma >= 0, 'a number that is not negative');
  return (targets, logits) => {
    if (!tf.util.arraysEqual(targets.shape, logits.shape)) {
      throw misfitError(
        `The targets must have the shape of the logits ${showShape(logits.shape)}, got ${showShape(targets.shape)}.`,
      );
    }
    return tf.tidy(() => {
      // With the sign of the target, pₜ = sigmoid(z) and −log pₜ = softplus(−z).
      const signed = tf.mul(logits, tf.sub(tf.mul(targets, 2), 1));
      const losses = tf.mul(tf.softplus(tf.neg(signed)), tf.exp(tf.mul(-gamma, tf.softplus(signed))));
      const balance = alpha === undefined ? 1 : tf.add(1 - alpha, tf.mul(targets, 2 * alpha - 1));
      return tf.mean(tf.mul(losses, balance), -1);
    });
  };
}
