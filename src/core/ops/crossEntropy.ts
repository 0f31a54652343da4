import * as tf from '@tensorflow/tfjs';
import {capabilities, PerBackend} from '../../backends/shared/capabilities';
import {checkOptions, kindOf, LoRAError, misfitError, showShape} from '../../platform/errors';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {factsOf, oneHot, positionsOf} from './positions';
import {
  checkClassLoss,
  checkPositionWeights,
  type ClassLossOptions,
  isWeighted,
  targetsNorm,
  weightedSum,
} from './weightedCrossEntropy';

/** The cross-entropy of logits in one dispatch of a backend. The last bits differ from composed tfjs ops. */
export interface CrossEntropyKernels {
  /**
   * The mean of `log Σ exp(z) − z[target]` over the rows whose target is not `ignored`. Another target that is no class
   * makes the mean NaN and the gradient zero.
   */
  crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor;
  crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor;
}

const kernels = new PerBackend<CrossEntropyKernels>();

/** Supplies the operations of a backend. */
export function supplyCrossEntropyKernels(backend: string, supplier: () => CrossEntropyKernels | undefined): void {
  kernels.supply(backend, supplier);
}

/**
 * Computes the mean of `log Σ exp(z) − z[target]` over all positions that count, from logits and class indices, without
 * one-hot targets or probabilities. If no position counts, the mean is 0. Options make it that of PyTorch with
 * `weight` and `label_smoothing`, or a focal loss (https://arxiv.org/abs/1708.02002), over positions `i` and classes
 * `c`:
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
 * @experimental
 */
export function crossEntropyFromLogits(
  targets: tf.Tensor,
  logits: tf.Tensor,
  options: ClassLossOptions = {},
): tf.Scalar {
  checkOptions(options, {ignoreIndex: true, labelSmoothing: true, focalGamma: true, classWeights: true, weights: true});
  for (const [name, tensor] of Object.entries({targets, logits})) {
    if (!(tensor instanceof tf.Tensor)) {
      throw new LoRAError(`${name} must be a tensor, got ${kindOf(tensor)}.`);
    }
  }
  const {ignoreIndex = -100} = options;
  checkLogits(targets, logits.shape, options);
  if (isWeighted(options)) {
    return shareOfTargets(weightedSum(targets, logits, options), targets, logits.shape.at(-1) ?? 0, options);
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

/** A sum over positions divided by how many count; 0 if none does, NaN without a gradient if a target is wrong. */
export function shareOfTargets(
  sum: tf.Tensor,
  targets: tf.Tensor,
  classes: number,
  options: ClassLossOptions,
): tf.Scalar {
  const {ignoreIndex = -100} = options;
  const divided = (x: tf.Tensor, classIndices: tf.Tensor, otherwise: number) => {
    const facts = factsOf(classIndices, classes, ignoreIndex);
    return tf.where(facts.hasWrong, otherwise, tf.divNoNan(x, targetsNorm(facts, options)));
  };
  return runLazyOp({
    inputs: {sum, targets},
    save: {targets: true},
    forward: () => divided(sum, targets, NaN),
    gradient: (dy, saved) => ({sum: () => tf.tidy(() => divided(dy, saved.targets, 0))}),
  }) as tf.Scalar;
}

/**
 * The sums of `log Σ exp(z) − z[target]` of each row, over its positions that count.
 *
 * @param targets class indices, `[rows, positions]`, which were checked. With several, a position counts in one of them
 *     at most, so that all have one gradient in the logits.
 * @param logits `[rows, positions, classes]`.
 * @param areAlike whether the sums of a row have the same gradient.
 * @returns the sums for each of the targets, `[rows, targets]`; 0 for a row in which no position counts.
 */
export function crossEntropySums(
  targets: readonly tf.Tensor[],
  logits: tf.Tensor,
  ignoreIndex: number,
  areAlike = targets.length === 1,
): tf.Tensor2D {
  const names = targets.map((_, i) => `targets${i}`);
  const [first] = targets;
  const isPerPosition = targets.length === 1 && first?.shape[1] === 1;
  const counted = (classIndices: tf.Tensor) => tf.cast(tf.notEqual(classIndices, ignoreIndex), 'float32');
  return runLazyOp<string>({
    inputs: {logits, ...Object.fromEntries(targets.map((target, i) => [`targets${i}`, target]))},
    save: {logits: true, ...Object.fromEntries(names.map(name => [name, true]))},
    forward: () => {
      if (isPerPosition) {
        return tf.expandDims(positionLosses(positionsOf(logits, first, ignoreIndex)), 1);
      }
      // The kernels compute the mean over a row.
      const sums = targets.map(target => {
        const means = byRows(logits, target, (z, ys) => tf.reshape(crossEntropyValue(ys, z, ignoreIndex), [1]));
        return tf.mul(means, tf.sum(counted(target), 1));
      });
      return tf.stack(sums, 1);
    },
    gradient: (dy, saved) => ({
      logits: () =>
        tf.tidy(() => {
          const savedTensors = names.map(name => saved[name] as tf.Tensor);
          if (isPerPosition) {
            const [target] = savedTensors as [tf.Tensor];
            const gradient = crossEntropyGradient(
              saved.logits as tf.Tensor,
              target,
              tf.sum(counted(target)),
              ignoreIndex,
            );
            return tf.mul(gradient, tf.expandDims(dy, 2));
          }
          const all = savedTensors.reduce((merged, target) => tf.where(tf.equal(target, ignoreIndex), merged, target));
          const ofRows = tf.unstack(dy) as tf.Tensor1D[];
          return byRows(saved.logits as tf.Tensor, all, (z, ofRow, row) => {
            const count = tf.sum(counted(ofRow));
            const ofSums = ofRows[row] as tf.Tensor1D;
            if (areAlike) {
              return crossEntropyGradient(z, ofRow, tf.mul(tf.squeeze(tf.slice(ofSums, 0, 1)), count), ignoreIndex);
            }
            const members = tf.stack(
              savedTensors.map(target => counted(tf.slice(target, [row, 0], [1, -1]))),
              -1,
            );
            const weights = tf.sum(tf.mul(members, ofSums), -1, true); // [1, positions, 1]
            return tf.mul(crossEntropyGradient(z, ofRow, count, ignoreIndex), weights);
          });
        }),
    }),
  }) as tf.Tensor2D;
}

function byRows(
  logits: tf.Tensor,
  targets: tf.Tensor,
  compute: (logits: tf.Tensor, targets: tf.Tensor, row: number) => tf.Tensor,
): tf.Tensor {
  const [rows = 0] = targets.shape;
  const parts = Array.from({length: rows}, (_, row) =>
    tf.tidy(() =>
      rows === 1
        ? compute(logits, targets, row)
        : compute(tf.slice(logits, [row, 0, 0], [1, -1, -1]), tf.slice(targets, [row, 0], [1, -1]), row),
    ),
  );
  return tf.concat(parts);
}

/** The value for targets that were checked, without a gradient. */
export function crossEntropyValue(targets: tf.Tensor, logits: tf.Tensor, ignoreIndex: number): tf.Tensor {
  return kernels.current()?.crossEntropy(logits, targets, ignoreIndex) ?? composed(logits, targets, ignoreIndex);
}

/** The gradient of the value in the logits, given that of the value. */
export function crossEntropyGradient(
  logits: tf.Tensor,
  targets: tf.Tensor,
  dy: tf.Tensor,
  ignoreIndex: number,
): tf.Tensor {
  return (
    kernels.current()?.crossEntropyGradient(logits, targets, dy, ignoreIndex) ??
    composedGradient(logits, targets, dy, ignoreIndex)
  );
}

/** @throws LoRAError if the targets or options do not fit logits of a shape. */
export function checkLogits(targets: tf.Tensor, shape: readonly number[], options: ClassLossOptions): void {
  const {ignoreIndex = -100, weights} = options;
  const classes = shape.at(-1) ?? 0;
  if (classes === 0 || targets.size !== tf.util.sizeFromShape(shape.slice(0, -1))) {
    throw misfitError(
      `The targets must be class indices, one for each position of the logits ${showShape(shape)}: ` +
        `expected shape ${showShape(shape.slice(0, -1))}, got ${showShape(targets.shape)}.`,
    );
  }
  checkClassLoss(options);
  checkTargets(targets, classes, ignoreIndex);
  if (weights !== undefined) {
    checkPositionWeights(weights, targets);
  }
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
  const positions = positionsOf(logits, targets, ignoreIndex);
  const loss = tf.divNoNan(tf.sum(positionLosses(positions)), tf.sum(positions.counts));
  return tf.where(positions.hasWrong, NaN, loss);
}

/** `log Σ exp(z) − z[target]` of each position, 0 for those that do not count. */
function positionLosses({rows, numbers, counts, classes}: ReturnType<typeof positionsOf>): tf.Tensor1D {
  const indices = tf.clipByValue(numbers, 0, classes - 1);
  const chosen = tf.squeeze(tf.gather(rows, tf.cast(tf.expandDims(indices, 1), 'int32'), 1, 1), [1]);
  return tf.where(tf.cast(counts, 'bool'), tf.sub(tf.logSumExp(rows, -1), chosen), tf.zerosLike(chosen)) as tf.Tensor1D;
}

function composedGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignoreIndex: number): tf.Tensor {
  const {rows, numbers, counts, classes, hasWrong} = positionsOf(logits, targets, ignoreIndex);
  const share = tf.where(hasWrong, 0, tf.mul(dy, tf.divNoNan(counts, tf.sum(counts))));
  const steps = tf.mul(tf.sub(tf.softmax(rows), oneHot(numbers, classes)), tf.reshape(share, [-1, 1]));
  return tf.reshape(steps, logits.shape);
}
