import * as tf from '@tensorflow/tfjs';
import {count} from '../../../core/layers/formulaLayer';
import {registerOwn} from '../../../platform/tfjs/configs';
import {linearTaps} from '../ops/resampling';
import {resizeGrid} from '../ops/resizeGrid';
import {definedLayer} from './definedLayer';

/** The scores from the class token to patches, from patches to it, and to itself. */
const OF_TOKEN = 3;

/**
 * A learned bias for the distance of two patches of an image, which follow a class token, as a bias of `Attention`:
 * patches `[batch, rows, columns, width]` → `[1, heads, 1 + rows·columns, 1 + rows·columns]`. The table has a row for
 * each distance in a grid of `edge` rows and columns, `[(2·edge − 1)² + 3, heads]`. It is resized for images of other
 * sizes by bilinear interpolation. (Bao et al., "BEiT", arXiv 2106.08254, §2.3.)
 *
 * @experimental
 */
export class PatchBias extends definedLayer({
  settings: {edge: count(), heads: count()},
  integers: [0],
  misfit: ([shape]) => shape.length !== 4 && 'patches, [batch, rows, columns, width]',
  weights: ({edge, heads}) => ({
    table: {shape: [(2 * edge - 1) ** 2 + OF_TOKEN, heads], start: tf.initializers.zeros()},
  }),
  shape([[, rows, columns]], {heads}) {
    const positions = rows == null || columns == null ? null : 1 + rows * columns;
    return [null, heads, positions, positions];
  },
}) {
  static readonly className = 'tfjs-lora/transformers>PatchBias';

  protected override compute([x]: [tf.Tensor4D]): tf.Tensor {
    const [, rows, columns] = x.shape;
    const positions = 1 + rows * columns;
    const indices = tf.tensor1d(pairIndices(rows, columns), 'int32');
    const values = tf.gather(this.tableFor(rows, columns), indices); // [positions², heads]
    return tf.reshape(tf.transpose(values), [1, this.settings.heads, positions, positions]);
  }

  /** The table for a grid of patches, `[(2·rows − 1)·(2·columns − 1) + 3, heads]`. */
  private tableFor(rows: number, columns: number): tf.Tensor2D {
    const {edge} = this.settings;
    const table = this.variables.table.variable.read() as tf.Tensor2D;
    if (rows === edge && columns === edge) {
      return table;
    }
    const span = 2 * edge - 1;
    const [distances, ofToken] = tf.split(table, [span ** 2, OF_TOKEN]) as [tf.Tensor2D, tf.Tensor2D];
    const taps = (count: number) => linearTaps(span, 2 * count - 1);
    return tf.concat([resizeGrid(distances, [span, span], taps(rows), taps(columns)), ofToken]);
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
