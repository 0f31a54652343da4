import * as tf from '@tensorflow/tfjs';
import {crossEntropySums} from '../../core/ops/crossEntropy';
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

/** How many targets of each row count, `[rows]`. */
export function countsOf(targets: tf.Tensor): tf.Tensor1D {
  return tf.sum(counted(targets), 1);
}

function counted(targets: tf.Tensor): tf.Tensor {
  return tf.cast(tf.notEqual(targets, IGNORED), 'float32');
}
