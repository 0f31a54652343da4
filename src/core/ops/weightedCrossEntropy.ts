import * as tf from '@tensorflow/tfjs';
import {checkNumber, LoRAError, misfitError, show, showShape, throwFaults} from '../../platform/errors';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {logOfZero} from './logOfZero';
import {type factsOf, oneHot, positionsOf} from './positions';

/** Options of a cross-entropy. */
export interface CrossEntropyOptions {
  /** The target of positions that do not count. Default: −100, as in PyTorch. */
  ignoreIndex?: number;
}

/** Options of the loss of classes. */
export interface ClassLossOptions extends CrossEntropyOptions {
  /** The share of a target that is spread over all classes evenly, from 0 to 1. Default: 0. */
  labelSmoothing?: number;
  /** Reduces the weight of confident predictions: each is multiplied by `(1 − p)^focalGamma`. Default: 0. */
  focalGamma?: number;
  /** A weight for each class, 0 or more, as a list or by class index. The mean is divided by those of the targets. */
  classWeights?: readonly number[] | Readonly<Record<number, number>>;
  /** A weight for each position, of the shape of the targets or its first axes. */
  weights?: tf.Tensor;
}

/** Whether a loss of classes is more than the mean of cross-entropies. */
export function isWeighted({labelSmoothing = 0, focalGamma = 0, classWeights, weights}: ClassLossOptions): boolean {
  return labelSmoothing !== 0 || focalGamma !== 0 || classWeights !== undefined || weights !== undefined;
}

/** @throws LoRAError if an option of a loss of classes is not in its range. */
export function checkClassLoss({
  ignoreIndex = -100,
  labelSmoothing = 0,
  focalGamma = 0,
  classWeights,
}: ClassLossOptions): void {
  checkNumber('ignoreIndex', ignoreIndex, true, 'a number');
  checkNumber('labelSmoothing', labelSmoothing, labelSmoothing >= 0 && labelSmoothing <= 1, 'a number from 0 to 1');
  checkNumber('focalGamma', focalGamma, focalGamma >= 0, 'a number that is not negative');
  if (classWeights !== undefined) {
    const entries = Object.entries(Object(classWeights) as Record<string, unknown>);
    if (entries.length === 0) {
      throw new LoRAError(`classWeights must have a number for each class, got ${show(classWeights)}.`);
    }
    throwFaults(
      entries
        .filter(([, weight]) => !(Number.isFinite(weight) && Number(weight) >= 0))
        .map(
          ([name, weight]) => `The weight of class ${name} must be a number that is not negative, got ${show(weight)}.`,
        ),
    );
  }
}

/** @throws LoRAError if there is not one weight for each class. */
function listOf(classWeights: Required<ClassLossOptions>['classWeights'], classes: number): number[] {
  const names = Object.keys(classWeights);
  const list = Array.from({length: classes}, (_, i) => (classWeights as Readonly<Record<number, number>>)[i]);
  const missing = list.flatMap((weight, i) => (weight === undefined ? [i] : []));
  if (missing.length > 0 || names.length !== classes) {
    throw misfitError(
      `classWeights must have one number for each of the ${classes} classes, 0 to ${classes - 1}, got ${names.length}.`,
    );
  }
  return list as number[];
}

/** @throws LoRAError if the weights do not fit the targets. */
export function checkPositionWeights(weights: tf.Tensor, targets: tf.Tensor): void {
  if (!weights.shape.every((size, axis) => size === targets.shape[axis])) {
    throw misfitError(
      `The weights must have the shape of the targets ${showShape(targets.shape)} or its first axes, got ` +
        `${showShape(weights.shape)}.`,
    );
  }
}

/** The number of positions that count, each multiplied by the weight of its target's class. */
export function targetsNorm(
  {numbers, counts, classes}: ReturnType<typeof factsOf>,
  {classWeights}: ClassLossOptions,
): tf.Scalar {
  if (classWeights === undefined) {
    return tf.sum(counts);
  }
  const within = tf.minimum(tf.maximum(numbers, tf.scalar(0, 'int32')), tf.scalar(classes - 1, 'int32'));
  return tf.sum(tf.mul(counts, tf.gather(listOf(classWeights, classes), within)));
}

/**
 * The sum whose share of `targetsNorm` is the loss of `crossEntropyFromLogits`, with any option, for targets that were
 * checked.
 */
export function weightedSum(targets: tf.Tensor, logits: tf.Tensor, options: ClassLossOptions): tf.Scalar {
  const {ignoreIndex = -100, labelSmoothing = 0, focalGamma = 0, classWeights, weights} = options;
  const byClass = classWeights && listOf(classWeights, logits.shape.at(-1) ?? 0);
  const partsOf = (logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor | undefined) => {
    const {rows, numbers, counts, classes, hasWrong} = positionsOf(logits, targets, ignoreIndex);
    const ofClass = byClass ? tf.tensor1d(byClass) : tf.ones([classes]);
    const isTarget = oneHot(numbers, classes);
    const spread = tf.mul(ofClass, labelSmoothing / classes);
    const shares = tf.tidy(() => tf.add(tf.mul(isTarget, tf.mul(ofClass, 1 - labelSmoothing)), spread));
    isTarget.dispose();
    const positionWeights = weights
      ? tf.mul(tf.reshape(counts, [...weights.shape, -1]), tf.expandDims(weights, -1))
      : counts;
    return {
      rows,
      shares, // [positions, classes]
      sums: tf.sum(shares, -1, true),
      ofPosition: tf.where(hasWrong, NaN, tf.reshape(positionWeights, [-1, 1])), // [positions, 1]
    };
  };
  return runLazyOp({
    inputs: {logits, targets, ...(weights && {weights})},
    save: {logits: true, targets: true, ...(weights && {weights: true})},
    forward: () =>
      tf.tidy(() => {
        const {rows, shares, sums, ofPosition} = partsOf(logits, targets, weights);
        const losses = tf.tidy(() => {
          if (focalGamma === 0) {
            const weightedLogSums = tf.mul(sums, tf.expandDims(tf.logSumExp(rows, -1), -1));
            return tf.sub(weightedLogSums, tf.sum(weightedRows(rows, shares), -1, true));
          }
          const logs = tf.logSoftmax(rows);
          return tf.neg(tf.sum(weightedRows(tf.mul(uncertain(logs, focalGamma), logs), shares), -1, true));
        });
        return tf.sum(weightedRows(losses, ofPosition));
      }),
    gradient: (dy, saved) => ({
      logits: () =>
        tf.tidy(() => {
          const {rows, shares, sums, ofPosition} = partsOf(saved.logits, saved.targets, saved.weights);
          const steps = tf.tidy(() =>
            focalGamma === 0
              ? tf.sub(tf.mul(tf.softmax(rows), sums), shares)
              : focalSteps(tf.logSoftmax(rows), shares, focalGamma),
          );
          const share = tf.where(tf.isNaN(ofPosition), 0, tf.mul(ofPosition, dy));
          return tf.reshape(tf.mul(steps, share), logits.shape);
        }),
    }),
  }) as tf.Scalar;
}

/** Products with weights of the same shape. A weight of 0 leaves a value out, even if that is infinite or NaN. */
function weightedRows(values: tf.Tensor, weights: tf.Tensor): tf.Tensor {
  return tf.where(tf.equal(weights, 0), 0, tf.mul(values, weights));
}

/** The gradient of focal losses in the logits of each position: `p·d(loss)/dp`, less what softmax takes from it. */
function focalSteps(logs: tf.Tensor, shares: tf.Tensor, gamma: number): tf.Tensor {
  const p = tf.exp(logs);
  const terms = tf.mul(p, tf.maximum(logs, logOfZero())); // 0 where p is 0
  const slopes = tf.mul(
    shares,
    tf.sub(tf.mul(tf.mul(gamma, uncertain(logs, gamma - 1)), terms), uncertain(logs, gamma)),
  );
  return tf.sub(slopes, tf.mul(p, tf.sum(slopes, -1, true)));
}

/** `(1 − p)^power` of logarithms of probabilities. It is finite for negative powers too. */
function uncertain(logs: tf.Tensor, power: number): tf.Tensor {
  return tf.tidy(() => tf.pow(tf.maximum(tf.sub(1, tf.exp(logs)), 1e-7), power));
}
