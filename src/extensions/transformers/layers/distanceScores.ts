import * as tf from '@tensorflow/tfjs';
import {count, flag, nullable, number, sizesMatch} from '../../../core/layers/formulaLayer';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer, defineLayer} from './definedLayer';
import {isNoSequence, SEQUENCES, tableOf} from './table';

/**
 * A learned table of vectors for distances, the same for all inputs: `[batch, positions, width]` → `[1, rows, width]`.
 * (See {@link DistanceScores}.)
 *
 * @experimental
 */
export const DistanceTable = defineLayer('DistanceTable', {
  settings: {rows: count()},
  misfit: ([shape]) => isNoSequence(shape) && SEQUENCES,
  weights: ({rows}, [shape]) => tableOf(rows, shape, 3),
  shape: ([shape], {rows}) => [1, rows, shape.at(-1) ?? null],
  formula: (_o, _inputs, _settings, w) => w.embeddings,
});

/**
 * The position terms of DeBERTa's attention scores for each head: `scale·xᵢ·t(i − j)`, or with `ofKeys` `scale·xⱼ·t(i −
 * j)`, for the query at `i` and the key at `j`. DeBERTa adds both, content to position and position to content. (He et
 * al., arXiv 2006.03654, §3.1; shared rows: arXiv 2111.09543.)
 *
 *     // [batch, positions, heads·size] and a table [1, 2·span, heads·size] → [batch, heads, positions, positions]
 *     scores.apply([queries, table])
 *
 * The table has a row for each distance, from `−span` to `span − 1`. Longer distances have the first or the last row.
 * With `farthest`, distances from half the span on share rows logarithmically, up to this distance. A `scale` of `null`
 * is `1/√size` of a head.
 *
 * @throws LoRAError if a setting is out of range, or the shapes of the inputs do not match.
 *
 * @experimental
 */
export class DistanceScores extends definedLayer({
  settings: {
    heads: count(),
    span: count(),
    farthest: nullable(count(undefined, 0)),
    ofKeys: flag(false),
    scale: nullable(number()),
  },
  check({span, farthest}) {
    checkCount('span', span, farthest === null ? 1 : 2);
  },
  inputs: 2,
  misfit([shape, table = []], {heads, span}) {
    const width = shape[2] ?? 0;
    const fits = shape.length === 3 && width % heads === 0 && sizesMatch(table, [1, 2 * span, width]);
    const taken = `queries or keys of ${heads} heads, [batch, positions, width], and a table, `;
    return !fits && taken + showShape([1, 2 * span, width]);
  },
  shape: ([[batch = null, positions = null]], {heads}) => [batch, heads, positions, positions],
}) {
  static readonly className = 'tfjs-lora/transformers>DistanceScores';

  protected override compute([x, table]: [tf.Tensor3D, tf.Tensor]): tf.Tensor {
    const {heads, span, ofKeys, scale} = this.settings;
    const [batch, positions, width] = x.shape;
    this.checkDistances(positions - 1);
    const size = width / heads;
    const all = 2 * positions - 1;
    const scaled = tf.mul(x, scale ?? 1 / Math.sqrt(size));
    const byHead = tf.reshape(tf.transpose(tf.reshape(scaled, [batch, positions, heads, size]), [2, 0, 1, 3]), [
      heads,
      batch * positions,
      size,
    ]);
    // The rows for the distances of this position, as the last one, to others at positions 0, 1, …
    const rows = Array.from({length: all}, (_, i) => this.rowOf(ofKeys ? i - positions + 1 : positions - 1 - i));
    const chosen = tf.gather(tf.reshape(table, [2 * span, width]), tf.tensor1d(rows, 'int32'));
    const rowsByHead = tf.transpose(tf.reshape(chosen, [all, heads, size]), [1, 0, 2]);
    const products = tf.matMul(byHead, rowsByHead, false, true); // [heads, batch·positions, all]
    const scores = tf.reshape(shifted(products, heads * batch, positions), [heads, batch, positions, positions]);
    return tf.transpose(scores, ofKeys ? [1, 0, 3, 2] : [1, 0, 2, 3]);
  }

  /** If the farthest distance is half the span, the formula for shared rows would divide by log 1. */
  private checkDistances(most: number): void {
    const {span, farthest} = this.settings;
    if (farthest !== null && farthest === Math.floor(span / 2) && most > farthest) {
      throw misfitError(
        `"${this.name}" has rows for distances up to ${farthest}, but positions are up to ${most} apart. Cut the texts to ` +
          `${farthest + 1} tokens.`,
      );
    }
  }

  /** The row for a query that is `distance` positions after a key, rounded as in PyTorch. */
  rowOf(distance: number): number {
    const {span, farthest} = this.settings;
    const {fround} = Math;
    const half = Math.floor(span / 2);
    const far = Math.abs(distance);
    let shared = far;
    if (farthest !== null && far > half) {
      const share = fround(fround(Math.log(fround(far / half))) / fround(Math.log(fround(farthest / half))));
      shared = Math.ceil(fround(share * (half - 1))) + half;
    }
    return Math.min(Math.max(span + Math.sign(distance) * shared, 0), 2 * span - 1);
  }
}
registerOwn(DistanceScores);

/**
 * `[.., rows of `positions`, 2·positions − 1]` → `[matrices, positions, positions]`: row `i` from index `positions − 1
 * − i` on. Reshaping to rows that are one value shorter shifts each row one index further to the left.
 */
function shifted(x: tf.Tensor, matrices: number, positions: number): tf.Tensor {
  if (positions === 1) {
    return x;
  }
  const row = 2 * positions - 2;
  const flat = tf.slice(
    tf.reshape(x, [matrices, positions * (row + 1)]),
    [0, positions - 1],
    [matrices, positions * row],
  );
  return tf.slice(tf.reshape(flat, [matrices, positions, row]), [0, 0, 0], [matrices, positions, positions]);
}
