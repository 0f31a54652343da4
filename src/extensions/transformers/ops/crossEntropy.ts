import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../../backends/shared/capabilities';
import {misfitError, showShape} from '../../../platform/errors';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';
import {transformerKernels} from '../kernels/transformer';
import {oneHot, positionsOf} from './positions';
import {type ClassLossOptions, isWeighted, weightedCrossEntropy} from './weightedCrossEntropy';

/**
 * Computes the mean of `log Σ exp(z) − z[target]` over all positions that count, from logits and class indices, without
 * one-hot targets or probabilities. If no position counts, the mean is 0. Options make it that of PyTorch with
 * `weight` and `label_smoothing`, or a focal loss (https://arxiv.org/abs/1708.02002), over positions `i` and classes `c`:
 *
 *     loss = Σᵢ weightᵢ · Σ_c q_c · w_c · (1 − p_c)^γ · −log p_c / Σᵢ w[targetᵢ],   q = (1 − ε)·onehot + ε / classes
 *
 *     loss = crossEntropyFromLogits(labels, model.apply([ids, mask]))
 *
 * @param targets class indices, of any shape.
 * @param logits of that shape, with a last axis of classes.
 * @param options the target that does not count, label smoothing, focal loss, and weights.
 * @returns the mean, a scalar.
 * @throws LoRAError `ERR_MISFIT` if the shapes do not match, or a target is neither a class nor ignored. On WebGL and
 *     WebGPU targets are not read; such a target makes the loss NaN and the gradient zero. `ERR_OPTION` if an option is
 *     not in its range.
 *
 * @experimental
 */
export function crossEntropyFromLogits(
  targets: tf.Tensor,
  logits: tf.Tensor,
  options: ClassLossOptions = {},
): tf.Scalar {
  const {ignoreIndex = -100} = options;
  const classes = logits.shape.at(-1) ?? 0;
  const positions = classes === 0 ? 0 : logits.size / classes;
  if (logits.rank < 1 || classes === 0 || targets.size !== positions) {
    throw misfitError(
      `The targets must be class indices, one for each position of the logits ${showShape(logits.shape)}: ` +
        `expected shape ${showShape(logits.shape.slice(0, -1))}, got ${showShape(targets.shape)}.`,
    );
  }
  checkTargets(targets, classes, ignoreIndex);
  if (isWeighted(options)) {
    return weightedCrossEntropy(targets, logits, options);
  }
  return runLazyOp({
    inputs: {logits, targets},
    save: {logits: true, targets: true},
    forward: () => crossEntropyValue(targets, logits, ignoreIndex),
    gradient: (dy, saved) => ({
      logits: () => tf.tidy(() => crossEntropyGradient(saved.logits, saved.targets, dy, ignoreIndex)),
    }),
  }) as tf.Scalar;
}

/** The value for targets that were checked, without a gradient. */
export function crossEntropyValue(targets: tf.Tensor, logits: tf.Tensor, ignoreIndex: number): tf.Tensor {
  return transformerKernels()?.crossEntropy(logits, targets, ignoreIndex) ?? composed(logits, targets, ignoreIndex);
}

/** The gradient of the value in the logits, given that of the value. */
export function crossEntropyGradient(
  logits: tf.Tensor,
  targets: tf.Tensor,
  dy: tf.Tensor,
  ignoreIndex: number,
): tf.Tensor {
  return (
    transformerKernels()?.crossEntropyGradient(logits, targets, dy, ignoreIndex) ??
    composedGradient(logits, targets, dy, ignoreIndex)
  );
}

function checkTargets(targets: tf.Tensor, classes: number, ignoreIndex: number): void {
  if (capabilities().isOnHost !== true) {
    return;
  }
  const values = targets.dataSync<'float32' | 'int32'>();
  const wrong = values.findIndex(value => value !== ignoreIndex && !(value >= 0 && value < classes && value % 1 === 0));
  if (wrong >= 0) {
    throw misfitError(
      `Target ${wrong} is ${values[wrong]}. It must be a class index, an integer from 0 to ` +
        `${classes - 1}, or ${ignoreIndex} for a position that does not count (ignoreIndex).`,
    );
  }
}

function composed(logits: tf.Tensor, targets: tf.Tensor, ignoreIndex: number): tf.Tensor {
  const {rows, numbers, counts, classes, hasWrong} = positionsOf(logits, targets, ignoreIndex);
  const chosen = tf.sum(tf.mul(rows, oneHot(numbers, classes)), -1);
  const losses = tf.where(tf.cast(counts, 'bool'), tf.sub(tf.logSumExp(rows, -1), chosen), tf.zerosLike(chosen));
  const loss = tf.divNoNan(tf.sum(losses), tf.sum(counts));
  return tf.where(hasWrong, NaN, loss);
}

function composedGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignoreIndex: number): tf.Tensor {
  const {rows, numbers, counts, classes, hasWrong} = positionsOf(logits, targets, ignoreIndex);
  const share = tf.where(hasWrong, 0, tf.mul(dy, tf.divNoNan(counts, tf.sum(counts))));
  const steps = tf.mul(tf.sub(tf.softmax(rows), oneHot(numbers, classes)), tf.reshape(share, [-1, 1]));
  return tf.reshape(steps, logits.shape);
}
