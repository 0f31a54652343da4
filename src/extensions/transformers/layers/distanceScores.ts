import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, show, showShape, throwFaults} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {addTable} from './table';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link DistanceTable}. */
export interface DistanceTableArgs {
  /** How many rows the table has. */
  rows: number;
  name?: string;
}

/**
 * A learned table of vectors for distances, the same for all inputs: `[batch, positions, width]` → `[1, rows, width]`.
 * (See {@link DistanceScores}.)
 *
 * @experimental
 */
export class DistanceTable extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>DistanceTable';
  private readonly rows: number;
  private embeddings!: tf.LayerVariable;

  constructor({rows, ...rest}: DistanceTableArgs) {
    checkCount('rows', rows);
    super(rest);
    this.rows = rows;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [shape] = shapesOf(inputShape);
    this.embeddings = addTable(this, shape, this.rows, table => this.addWeight(...table));
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return [1, this.rows, shapesOf(inputShape)[0].at(-1) ?? null];
  }

  protected override compute(): tf.Tensor {
    return tf.expandDims(this.embeddings.read(), 0);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), rows: this.rows};
  }
}
registerOwn(DistanceTable);

/** Arguments of {@link DistanceScores}. */
export interface DistanceScoresArgs {
  heads: number;
  /**
   * The table has a row for each distance from `−span` to `span − 1`. Longer distances have the first or the last row.
   */
  span: number;
  /** If given, distances from half the span on share rows logarithmically, up to this distance. Default: null. */
  farthest?: number | null;
  /** Whether the first input is the keys instead of the queries. Default: false. */
  ofKeys?: boolean;
  /** A factor for the products. Default: `1/√size` of a head. */
  scale?: number | null;
  name?: string;
}

/**
 * The position terms of DeBERTa's attention scores for each head: `scale·xᵢ·t(i − j)`, or with `ofKeys` `scale·xⱼ·t(i −
 * j)`, for the query at `i` and the key at `j`. DeBERTa adds both, content to position and position to content. (He et
 * al., arXiv 2006.03654, §3.1; shared rows: arXiv 2111.09543.)
 *
 *     // [batch, positions, heads·size] and a table [1, 2·span, heads·size] → [batch, heads, positions, positions]
 *     scores.apply([queries, table])
 *
 * @throws LoRAError if a setting is out of range, or the shapes of the inputs do not match.
 *
 * @experimental
 */
export class DistanceScores extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>DistanceScores';
  private readonly heads: number;
  private readonly span: number;
  private readonly farthest: number | null;
  private readonly ofKeys: boolean;
  private readonly scale: number | null;

  constructor({heads, span, farthest = null, ofKeys = false, scale = null, ...rest}: DistanceScoresArgs) {
    checkCount('heads', heads);
    checkCount('span', span);
    if (farthest !== null) {
      checkCount('span', span, 2);
      checkCount('farthest', farthest, 0);
    }
    throwFaults(scale === null || Number.isFinite(scale) ? [] : [`scale must be a number, got ${show(scale)}.`]);
    super(rest);
    this.heads = heads;
    this.span = span;
    this.farthest = farthest;
    this.ofKeys = ofKeys;
    this.scale = scale;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [[batch = null, positions = null]] = shapesOf(inputShape);
    return [batch, this.heads, positions, positions];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, table] = inputs.map(asFloat);
    const {heads, span, ofKeys} = this;
    const width = x?.shape[2] ?? 0;
    if (x?.rank !== 3 || width % heads !== 0 || !tf.util.arraysEqual(table?.shape ?? [], [1, 2 * span, width])) {
      const shapes = inputs.map(({shape}) => showShape(shape));
      throw misfitError(
        `"${this.name}" takes queries or keys of ${heads} heads, [batch, positions, width], and a table, ` +
          `${showShape([1, 2 * span, width])}; got ${shapes.join(', ')}.`,
      );
    }
    const [batch, positions] = (x as tf.Tensor3D).shape;
    this.checkDistances(positions - 1);
    const size = width / heads;
    const all = 2 * positions - 1;
    const scaled = tf.mul(x, this.scale ?? 1 / Math.sqrt(size));
    const byHead = tf.reshape(tf.transpose(tf.reshape(scaled, [batch, positions, heads, size]), [2, 0, 1, 3]), [
      heads,
      batch * positions,
      size,
    ]);
    // The rows for the distances of this position, as the last one, to others at positions 0, 1, …
    const rows = Array.from({length: all}, (_, i) => this.rowOf(ofKeys ? i - positions + 1 : positions - 1 - i));
    const chosen = tf.gather(tf.reshape(table as tf.Tensor, [2 * span, width]), tf.tensor1d(rows, 'int32'));
    const rowsByHead = tf.transpose(tf.reshape(chosen, [all, heads, size]), [1, 0, 2]);
    const products = tf.matMul(byHead, rowsByHead, false, true); // [heads, batch·positions, all]
    const scores = tf.reshape(shifted(products, heads * batch, positions), [heads, batch, positions, positions]);
    return tf.transpose(scores, ofKeys ? [1, 0, 3, 2] : [1, 0, 2, 3]);
  }

  /** If the farthest distance is half the span, the formula for shared rows would divide by log 1. */
  private checkDistances(most: number): void {
    const {span, farthest} = this;
    if (farthest !== null && farthest === Math.floor(span / 2) && most > farthest) {
      throw misfitError(
        `"${this.name}" has rows for distances up to ${farthest}, but positions are up to ${most} apart. Cut the texts to ` +
          `${farthest + 1} tokens.`,
      );
    }
  }

  /** The row for a query that is `distance` positions after a key, rounded as in PyTorch. */
  private rowOf(distance: number): number {
    const {span, farthest} = this;
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

  override getConfig(): tf.serialization.ConfigDict {
    const {heads, span, farthest, ofKeys, scale} = this;
    return {...super.getConfig(), heads, span, farthest, ofKeys, scale};
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
