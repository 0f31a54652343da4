import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {checkCount, checkNumber, checkOptions, kindOf, LoRAError, misfitError, showShape} from '../../platform/errors';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {logOfZero} from '../../core/ops/logOfZero';
import {oneHot} from '../../core/ops/positions';

/** Options of `ctcLoss`. */
export interface CTCLossOptions {
  /** The index of the blank. Defaults to 0. */
  blank?: number;
  /** Fills targets up to the longest of the batch. Defaults to −100. */
  padding?: number;
  /** How many of the frames count for each example, `[batch]`. By default all do. */
  inputLengths?: tf.Tensor1D;
  /** Whether an example whose target does not fit in its frames has a loss of 0, not ∞. Defaults to false. */
  zeroInfinity?: boolean;
}

/**
 * Computes the CTC loss (Graves et al., "Connectionist Temporal Classification", 2006): minus the logarithm of the
 * probability that the frames spell the target, whatever the alignment. Values and gradients are those of PyTorch's
 * `ctc_loss` with `reduction='none'`, of log-softmaxed logits.
 *
 * It is computed by batched operations of tfjs, frame by frame, so that it runs on each backend without reading values
 * back. Logarithms of each frame are relative to its most probable state, so long inputs lose no precision.
 *
 * @param targets class indices, `[batch, length]`, filled up with `padding` at the end.
 * @param logits `[batch, frames, classes]`.
 * @param options the blank, the padding, and lengths.
 * @returns the loss of each example, `[batch]`. It is ∞ if the target has a probability of 0: it has too many classes
 *     for the frames, or the logits that it needs are −∞. It is NaN if a frame has a NaN, a logit of ∞ or no other than
 *     −∞.
 * @throws LoRAError `ERR_OPTION` if an option is out of range; `ERR_MISFIT` if shapes do not fit, or a target is not a
 *     class, is the blank, or is after padding. On WebGL and WebGPU targets are not read; there the loss is NaN.
 * @example
 *     const loss = ctcLoss(tf.tensor2d([[3, 1, -100]], [1, 3], 'int32'), logits);
 * @experimental
 */
export function ctcLoss(targets: tf.Tensor, logits: tf.Tensor, options: CTCLossOptions = {}): tf.Tensor1D {
  checkOptions(options, {blank: true, padding: true, inputLengths: true, zeroInfinity: true});
  const {blank = 0, padding = -100, inputLengths, zeroInfinity = false} = options;
  const inputs: unknown[] = [targets, logits];
  if (!inputs.every(input => input instanceof tf.Tensor)) {
    throw new LoRAError(`targets and logits must be tensors, got ${inputs.map(kindOf).join(' and ')}.`);
  }
  const [batch = 0, frames = 0, classes = 0] = logits.shape;
  if (logits.rank !== 3 || targets.rank !== 2 || targets.shape[0] !== batch || logits.size === 0) {
    throw misfitError(
      `Logits must be [batch, frames, classes] and targets [batch, length], got ${showShape(logits.shape)} and ` +
        `${showShape(targets.shape)}.`,
    );
  }
  if (inputLengths !== undefined && (inputLengths.rank !== 1 || inputLengths.size !== batch)) {
    throw misfitError(`inputLengths must be [${batch}], one for each example, got ${showShape(inputLengths.shape)}.`);
  }
  checkCount('blank', blank, 0);
  checkNumber('padding', padding, Number.isInteger(padding), 'a whole number');
  checkTargets(targets, {blank, padding, classes});
  const problem: Problem = {targets, blank, padding, inputLengths, frames, classes};
  return tf.tidy(() => lossesOf(problem, logits as tf.Tensor3D, zeroInfinity));
}

/** The losses, as one step of the tape. */
function lossesOf(problem: Problem, logits: tf.Tensor3D, zeroInfinity: boolean): tf.Tensor1D {
  const {targets, inputLengths} = problem;
  const [losses] = runLazyOp({
    inputs: {logits, targets, ...(inputLengths && {inputLengths})},
    save: {logits: true, targets: true, inputLengths: inputLengths !== undefined, alphas: true, factors: true},
    forward: () => {
      const states = statesOf(problem);
      const logProbs = tf.logSoftmax(logits);
      const {alphas, scale} = forwardPass(emissionsOf(logProbs, states), states);
      const likelihood = tf.add(scale, logSum(tf.add(alphas.at(-1) as tf.Tensor2D, states.ends), 1));
      const none = zeroInfinity ? 0 : Infinity;
      const isFit = tf.greater(likelihood, logOfZero() / 2);
      const values = tf.where(isFit, tf.neg(likelihood), tf.fill(likelihood.shape, none));
      const isNaN = tf.logicalOr(states.isWrong, hasNaN(logProbs, problem));
      const orNaN = (x: tf.Tensor) => tf.where(isNaN, tf.fill(likelihood.shape, NaN), x);
      return [orNaN(values), tf.stack(alphas), orNaN(tf.cast(isFit, 'float32'))];
    },
    gradient: (dy, saved) => ({
      logits: () =>
        tf.tidy(() => {
          // Targets and lengths that the caller made for this step are disposed of by now, except for those saved.
          const savedProblem = {...problem, ...saved} as Problem;
          return gradientOf(
            tf.mul(dy, saved.factors),
            saved.logits as tf.Tensor3D,
            saved.alphas as tf.Tensor3D,
            savedProblem,
          );
        }),
    }),
  }) as tf.Tensor[];
  return losses as tf.Tensor1D;
}

/** The checked arguments of a call. */
interface Problem {
  targets: tf.Tensor;
  blank: number;
  padding: number;
  inputLengths: tf.Tensor1D | undefined;
  frames: number;
  classes: number;
}

/** 0 where a condition holds, else the logarithm of 0. */
function allowed(condition: tf.Tensor): tf.Tensor {
  return tf.mul(tf.sub(1, tf.cast(condition, 'float32')), logOfZero());
}

/** The states that spell a target: a blank before, between and after its classes. */
interface States {
  /** One-hot classes of the states, `[batch, states, classes]`. */
  classes: tf.Tensor3D;
  /** 0 where a state is of the target, `[batch, 1, states]`. */
  exists: tf.Tensor;
  /** 0 where the blank before a state may be left out, `[batch, states]`. */
  skips: tf.Tensor2D;
  /** 0 at the last two states of a target, `[batch, states]`. */
  ends: tf.Tensor2D;
  /** Whether a target is the blank, or no class, `[batch]`. */
  isWrong: tf.Tensor1D;
  /** 1 for each frame that counts, `[frames, batch, 1]`; none if all count. */
  counts: tf.Tensor3D | undefined;
}

function statesOf(problem: Problem): States {
  const {targets, blank, padding, frames, classes} = problem;
  const batch = targets.shape[0];
  const length = Math.max(1, targets.shape[1] as number); // tfjs reduces empty tensors differently on each backend
  const paddedTargets =
    targets.size === 0 ? tf.fill([batch, 1], padding, 'int32') : (tf.cast(targets, 'int32') as tf.Tensor2D);
  const isTarget = tf.notEqual(paddedTargets, padding);
  const blanks = tf.fill([batch, length + 1], blank, 'int32');
  const labels = tf.where(isTarget, paddedTargets, tf.slice(blanks, [0, 0], [batch, length]));
  const interleaved = <T extends tf.Tensor>(even: T, odd: T): tf.Tensor2D => {
    const [first, last] = [tf.slice(even, [0, 0], [batch, length]), tf.slice(even, [0, length], [batch, 1])];
    return tf.concat([tf.reshape(tf.stack([first, odd], 2), [batch, 2 * length]), last as tf.Tensor2D], 1);
  };
  const lengths = tf.sum(tf.cast(isTarget, 'int32'), 1, true); // [batch, 1]
  const numbers = tf.reshape(tf.range(0, 2 * length + 1, 1, 'int32'), [1, 2 * length + 1]);
  const last = tf.mul(lengths, tf.scalar(2, 'int32'));
  const isEnd = tf.logicalOr(tf.equal(numbers, last), tf.equal(numbers, tf.sub(last, tf.scalar(1, 'int32'))));
  const isOutside = tf.logicalOr(tf.less(paddedTargets, 0), tf.greaterEqual(paddedTargets, classes));
  const isNoClass = tf.logicalOr(isOutside, tf.equal(paddedTargets, blank));
  const before = tf.concat([tf.fill([batch, 1], blank, 'int32'), labels], 1).slice([0, 0], [batch, length]);
  const never = tf.fill([batch, length + 1], logOfZero());
  return {
    isWrong: tf.any(tf.logicalAnd(isTarget, isNoClass), 1),
    classes: oneHot(interleaved(blanks, labels), classes) as tf.Tensor3D,
    exists: tf.expandDims(allowed(tf.lessEqual(numbers, last)), 1),
    skips: interleaved(never, allowed(tf.notEqual(labels, before))),
    ends: allowed(isEnd) as tf.Tensor2D,
    counts: countsOf(problem, [frames, 1, 1], [1, batch, 1]) as tf.Tensor3D | undefined,
  };
}

/** Whether each frame counts, of shapes that broadcast; `undefined` if all do. */
function countsOf({inputLengths, frames}: Problem, timeShape: number[], lengthShape: number[]): tf.Tensor | undefined {
  const times = tf.reshape(tf.range(0, frames, 1, 'int32'), timeShape);
  return inputLengths && tf.less(times, tf.reshape(tf.cast(inputLengths, 'int32'), lengthShape));
}

/** Whether a frame that counts has no probabilities, `[batch]`. Maxima lose NaN on some backends, sums do not. */
function hasNaN(logProbs: tf.Tensor3D, problem: Problem): tf.Tensor1D {
  const [batch, frames] = logProbs.shape;
  const isNaN = tf.isNaN(tf.sum(logProbs, 2));
  const counts = countsOf(problem, [1, frames], [batch, 1]);
  return tf.any(counts === undefined ? isNaN : tf.logicalAnd(isNaN, counts), 1);
}

/** The log-probabilities of the states in each frame, `[batch, states]` each. */
function emissionsOf(logProbs: tf.Tensor3D, {classes, exists}: States): tf.Tensor2D[] {
  // 0 · −∞ would be NaN in the product that chooses classes.
  const chosen = tf.matMul(tf.maximum(logProbs, logOfZero()), classes, false, true);
  return tf.unstack(tf.add(chosen, exists), 1) as tf.Tensor2D[];
}

/** `log Σ exp`, without NaN where all are impossible. */
function logSum(x: tf.Tensor, axis: number): tf.Tensor {
  const most = tf.max(x, axis, true);
  const sum = tf.log(tf.sum(tf.exp(tf.sub(x, most)), axis));
  return tf.add(sum, tf.squeeze(most, [axis]));
}

/** The logarithm of the sum over the states that lead to each: itself, the one before, and the one before that. */
function reached(states: tf.Tensor2D, skips: tf.Tensor2D): tf.Tensor2D {
  const [batch, count] = states.shape;
  const wide = tf.pad(states, [[0, 0], [2, 0]], logOfZero()); // prettier-ignore
  const at = (start: number) => tf.slice(wide, [0, start], [batch, count]);
  return logSum(tf.stack([at(2), at(1), tf.add(at(0), skips)]), 0) as tf.Tensor2D;
}

/** Values of a frame, relative to the largest of each example, which is given too. */
function relative(values: tf.Tensor2D): {values: tf.Tensor2D; most: tf.Tensor} {
  const most = tf.max(values, 1, true);
  return {values: tf.maximum(tf.sub(values, most), logOfZero()), most};
}

/** For each frame the log-probabilities of its states after the frames so far, relative to the largest. */
function forwardPass(
  emissions: readonly tf.Tensor2D[],
  {skips, counts}: States,
): {alphas: tf.Tensor2D[]; scale: tf.Tensor} {
  const [first] = emissions as [tf.Tensor2D];
  const [batch, count] = first.shape;
  const laterStates: [number, number] = [0, count - 2]; // there are three states or more
  const start = tf.pad(tf.zeros([batch, 2]), [[0, 0], laterStates], logOfZero());
  const alphas: tf.Tensor2D[] = [];
  let scale: tf.Tensor = tf.zeros([batch, 1]);
  emissions.forEach((emission, t) => {
    const next = relative(tf.add(emission, t === 0 ? start : reached(alphas[t - 1] as tf.Tensor2D, skips)));
    const isOver = counts && tf.logicalNot(tf.slice(counts, t, 1).squeeze([0]));
    const previous = alphas[t - 1] ?? tf.add(start, logOfZero());
    alphas.push(isOver ? over(isOver, previous, next.values) : next.values);
    scale = tf.add(scale, isOver ? over(isOver, tf.zerosLike(next.most), next.most) : next.most);
  });
  return {alphas, scale: tf.squeeze(scale, [1])};
}

/** One of two tensors for each example. */
function over<T extends tf.Tensor>(condition: tf.Tensor, yes: T, no: T): T {
  return tf.where(tf.broadcastTo(condition, no.shape), yes, no);
}

/** The gradient in the logits: the probabilities of the classes, less those given the target, times the weights. */
function gradientOf(weights: tf.Tensor, logits: tf.Tensor3D, alphas: tf.Tensor3D, problem: Problem): tf.Tensor {
  const states = statesOf(problem);
  const emissions = emissionsOf(tf.logSoftmax(logits), states);
  const {skips, ends, counts, classes} = states;
  const [batch, count] = ends.shape;
  // Backwards, a skip leads to a state from the one two later, whose permission it is.
  const later = tf.slice(tf.reverse(skips, 1), [0, 0], [batch, count - 2]);
  const before: [number, number] = [2, 0];
  const permitted = tf.pad(later, [[0, 0], before], logOfZero());
  const betas: tf.Tensor2D[] = [];
  for (let t = problem.frames - 1; t >= 0; t--) {
    const last = betas.at(-1);
    if (last === undefined) {
      betas.push(ends);
      continue;
    }
    const reversed = tf.reverse(tf.add<tf.Tensor2D>(last, emissions[t + 1] as tf.Tensor2D), 1);
    const {values} = relative(tf.reverse(reached(reversed, permitted), 1));
    const isOver = counts && tf.logicalNot(tf.slice(counts, t + 1, 1).squeeze([0]));
    betas.push(isOver ? over(isOver, ends, values) : values);
  }
  const paths = tf.add(alphas, tf.stack(betas.reverse())); // [frames, batch, states]
  const shares = tf.transpose(tf.softmax(paths), [1, 0, 2]);
  const steps = tf.sub(tf.softmax(logits), tf.matMul(shares, classes));
  const weighted = tf.mul(steps, tf.reshape(weights, [batch, 1, 1]));
  // Not `counts` transposed: tfjs 4.22 transposes only floats on WebGPU.
  const inBatch = countsOf(problem, [1, problem.frames, 1], [batch, 1, 1]);
  return inBatch === undefined
    ? weighted
    : tf.where(tf.broadcastTo(inBatch, weighted.shape), weighted, tf.zerosLike(weighted));
}

function checkTargets(
  targets: tf.Tensor,
  {blank, padding, classes}: {blank: number; padding: number; classes: number},
): void {
  if (blank >= classes) {
    throw misfitError(`blank is ${blank}, but the logits have ${classes} classes.`);
  }
  if (capabilities().isOnHost !== true) {
    return;
  }
  const length = targets.shape[1] as number;
  targets.dataSync<'float32' | 'int32'>().forEach((value, i, all) => {
    const isPadding = value === padding;
    const isClass = Number.isInteger(value) && value >= 0 && value < classes && value !== blank;
    if (!isPadding && !isClass) {
      throw misfitError(
        `Target ${i % length} of example ${Math.floor(i / length)} is ${value}. It must be a class from 0 to ` +
          `${classes - 1} other than the blank, ${blank}, or ${padding} for padding.`,
      );
    }
    if (!isPadding && i % length > 0 && all[i - 1] === padding) {
      throw misfitError(`Target ${i % length} of example ${Math.floor(i / length)} is after padding.`);
    }
  });
}
