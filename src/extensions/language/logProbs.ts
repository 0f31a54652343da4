import * as tf from '@tensorflow/tfjs';
import {crossEntropySums} from '../../core/ops/crossEntropy';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {type Head, type PositionSums, sumsInChunks} from '../transformers/ops/headInChunks';

/** The target of positions that do not count. */
export const IGNORED = -100;

/**
 * Sums the log-probabilities of the targets of each sequence, `Σ log softmax(z)[target]` over the positions that count.
 *
 * @param targets the next token of each position, or `IGNORED`, `[rows, positions]`. With several, a position counts in
 *     one of them at most.
 * @param states the states `[rows, positions, width]` before the head, or the logits without one.
 * @returns the sums for each of the targets, `[rows]`; 0 for a row in which no position counts.
 */
export function sequenceLogProbs(targets: readonly tf.Tensor2D[], states: tf.Tensor3D, head?: Head): tf.Tensor1D[] {
  const what: PositionSums = {
    perPosition: Object.fromEntries(targets.map((target, i) => [`targets${i}`, target])),
    sumsOf: (logits, targetTensors, areAlike) =>
      tf.neg(crossEntropySums(Object.values(targetTensors), logits, IGNORED, areAlike)),
    ...(targets.length > 1 && {membersOf: targetTensors => tf.stack(Object.values(targetTensors).map(counted), 2)}),
  };
  const sums = head ? sumsInChunks(head, states, what).sums : what.sumsOf(states, what.perPosition);
  // tfjs cannot differentiate unstack with one result.
  return targets.length > 1 ? (tf.unstack(sums, 1) as tf.Tensor1D[]) : [tf.reshape(sums, [-1])];
}

/**
 * The log-probability of the target of each position, `[rows, positions]`, 0 where the target is `IGNORED`, and the sum
 * of the entropies of the positions that count, which is not differentiated.
 *
 * @param targets the next token of each position, or `IGNORED`, `[rows, positions]`.
 * @param states the states `[rows, positions, width]` before the head.
 */
export function tokenLogProbs(
  targets: tf.Tensor2D,
  states: tf.Tensor3D,
  head: Head,
): {logProbs: tf.Tensor2D; entropy: tf.Tensor} {
  const [rows, positions, width] = states.shape;
  // As rows of one position, whose sums are those of single tokens.
  const {sums, observed} = sumsInChunks(head, tf.reshape(states, [rows * positions, 1, width]), {
    perPosition: {targets: tf.reshape(targets, [-1, 1])},
    sumsOf: (logits, {targets}) => tf.neg(crossEntropySums([targets as tf.Tensor], logits, IGNORED)),
    observe: (logits, {targets}) => [entropySum(logits, targets as tf.Tensor)],
  });
  return {logProbs: tf.reshape(sums, [rows, positions]), entropy: observed[0] as tf.Tensor};
}

/** The sum of `−Σ p·log p` over the positions that count. */
function entropySum(logits: tf.Tensor, targets: tf.Tensor): tf.Tensor {
  const [rows = 0, , classes = 1] = logits.shape;
  const most = Math.max(1, Math.floor(ENTROPY_LOGITS / classes));
  const terms = Array.from({length: Math.ceil(rows / most)}, (_, i) =>
    tf.tidy(() => {
      const z = tf.slice(logits, i * most, Math.min(most, rows - i * most));
      return tf.sum(tf.mul(tf.softmax(z), tf.maximum(tf.logSoftmax(z), LEAST_LOG)), -1);
    }),
  );
  return tf.neg(tf.sum(tf.mul(tf.concat(terms), counted(targets))));
}

/** Entropies are computed of so many logits at a time: they take several tensors of that size. */
const ENTROPY_LOGITS = 2 ** 18;

/** The log-probabilities of tokens that cannot come, times 0, would be NaN. */
const LEAST_LOG = -1e30;

/** How many targets of each row count, `[rows]`. */
export function countsOf(targets: tf.Tensor): tf.Tensor1D {
  return tf.sum(counted(targets), 1);
}

/** 1 for the targets that count, else 0. */
export function counted(targets: tf.Tensor): tf.Tensor {
  return tf.cast(tf.notEqual(targets, IGNORED), 'float32');
}

/** A value that is not differentiated. */
export function constant<T extends tf.Tensor>(x: T): T {
  return runLazyOp({
    inputs: {x},
    save: {},
    forward: () => tf.clone(x),
    gradient: dy => ({x: () => tf.zerosLike(dy)}),
  }) as T;
}
