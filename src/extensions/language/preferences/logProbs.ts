import * as tf from '@tensorflow/tfjs';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';
import {crossEntropyGradient, crossEntropyValue} from '../../transformers/ops/crossEntropy';

/** The target of positions that do not count. */
export const IGNORED = -100;

/**
 * Sums the log-probabilities of the targets of each sequence, `Σ log softmax(z)[target]` over the positions that count.
 *
 * @param targets the next token of each position, or `IGNORED`, `[rows, positions]`.
 * @param logits `[rows, positions, vocabulary]`.
 * @returns the sums, `[rows]`; 0 for a row in which no position counts.
 */
export function sequenceLogProbs(targets: tf.Tensor2D, logits: tf.Tensor3D): tf.Tensor1D {
  return runLazyOp({
    inputs: {logits, targets},
    save: {logits: true, targets: true},
    forward: () => {
      const means = rowsOf(targets, logits).map(row => tf.reshape(crossEntropyValue(...row, IGNORED), [1]));
      return tf.neg(tf.mul(tf.concat(means), countsOf(targets)));
    },
    gradient: (dy, saved) => ({
      logits: () =>
        tf.tidy(() => {
          // The kernels differentiate the mean over a row.
          const ofMeans = tf.split(tf.neg(tf.mul(dy, countsOf(saved.targets))), dy.size);
          const rows = rowsOf(saved.targets, saved.logits);
          return tf.concat(
            rows.map(([given, own], i) =>
              crossEntropyGradient(own, given, tf.reshape(ofMeans[i] as tf.Tensor, []), IGNORED),
            ),
          );
        }),
    }),
  }) as tf.Tensor1D;
}

/** How many targets of each row count, `[rows]`. */
export function countsOf(targets: tf.Tensor): tf.Tensor1D {
  return tf.sum(tf.cast(tf.notEqual(targets, IGNORED), 'float32'), 1);
}

/** The targets and the logits of each sequence. */
function rowsOf(targets: tf.Tensor, logits: tf.Tensor): [targets: tf.Tensor, logits: tf.Tensor][] {
  const [rows = 0] = targets.shape;
  return rows === 1
    ? [[targets, logits]]
    : Array.from({length: rows}, (_, row) => [
        tf.slice(targets, [row, 0], [1, -1]),
        tf.slice(logits, [row, 0, 0], [1, -1, -1]),
      ]);
}
