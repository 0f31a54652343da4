import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {onlyShape, onlyTensor} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {linearTaps} from '../ops/resampling';
import {resizeGrid} from '../ops/resizeGrid';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link PatchBias}. */
export interface PatchBiasArgs {
  /** The rows, and the columns, of patches that the table is for. */
  edge: number;
  heads: number;
  name?: string;
}

/** The scores from the class token to patches, from patches to it, and to itself. */
const OF_TOKEN = 3;

/**
 * A learned bias for the distance of two patches of an image, which follow a class token, as a bias of `Attention`:
 * patches `[batch, rows, columns, width]` → `[1, heads, 1 + rows·columns, 1 + rows·columns]`. The table has a row for
 * each distance, `[(2·edge − 1)² + 3, heads]`, and is resized for images of other sizes by bilinear interpolation. (Bao
 * et al., "BEiT", arXiv 2106.08254, §2.3.)
 *
 * @experimental
 */
export class PatchBias extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>PatchBias';
  private readonly edge: number;
  private readonly heads: number;
  private table!: tf.LayerVariable;

  constructor({edge, heads, ...rest}: PatchBiasArgs) {
    checkCount('edge', edge);
    checkCount('heads', heads);
    super(rest);
    this.edge = edge;
    this.heads = heads;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const shape = onlyShape(inputShape);
    if (shape.length !== 4) {
      throw misfitError(`"${this.name}" takes patches, [batch, rows, columns, width], got ${showShape(shape)}.`);
    }
    const rows = (2 * this.edge - 1) ** 2 + OF_TOKEN;
    this.table = this.addWeight('table', [rows, this.heads], 'float32', tf.initializers.zeros());
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [, rows, columns] = onlyShape(inputShape);
    const positions = rows == null || columns == null ? null : 1 + rows * columns;
    return [null, this.heads, positions, positions];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [, rows, columns] = onlyTensor(inputs).shape as [number, number, number];
    const count = 1 + rows * columns;
    const indices = tf.tensor1d(pairIndices(rows, columns), 'int32');
    const values = tf.gather(this.tableFor(rows, columns), indices); // [count², heads]
    return tf.reshape(tf.transpose(values), [1, this.heads, count, count]);
  }

  /** The table for a grid of patches, `[(2·rows − 1)·(2·columns − 1) + 3, heads]`. */
  private tableFor(rows: number, columns: number): tf.Tensor2D {
    const table = this.table.read() as tf.Tensor2D;
    if (rows === this.edge && columns === this.edge) {
      return table;
    }
    const span = 2 * this.edge - 1;
    const [distances, ofToken] = tf.split(table, [span ** 2, OF_TOKEN]) as [tf.Tensor2D, tf.Tensor2D];
    const taps = (count: number) => linearTaps(span, 2 * count - 1);
    return tf.concat([resizeGrid(distances, [span, span], taps(rows), taps(columns)), ofToken]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), edge: this.edge, heads: this.heads};
  }
}
registerOwn(PatchBias);

/** For each pair of positions, the class token first, the row of their distance in the table. */
function pairIndices(rows: number, columns: number): Int32Array {
  const count = 1 + rows * columns;
  const [height, width] = [2 * rows - 1, 2 * columns - 1];
  const [fromToken, toToken, itself] = [0, 1, 2].map(i => height * width + i) as [number, number, number];
  return Int32Array.from({length: count ** 2}, (_, pair) => {
    const [query, key] = [Math.floor(pair / count) - 1, (pair % count) - 1];
    if (query < 0 || key < 0) {
      return query >= 0 ? toToken : key >= 0 ? fromToken : itself;
    }
    const down = Math.floor(query / columns) - Math.floor(key / columns) + rows - 1;
    return down * width + (query % columns) - (key % columns) + columns - 1;
  });
}
