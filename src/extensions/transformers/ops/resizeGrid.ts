import * as tf from '@tensorflow/tfjs';
import type {Taps} from './resampling';

/**
 * Resizes the rows of a table that belong to the places of a grid, `[rows·columns, width]`, row by row: each place of
 * the result is a weighted sum of places of the table.
 *
 * @param grid the rows and columns of the table.
 * @param down the weights for each row of the result; `across` those for each column.
 */
export function resizeGrid(
  table: tf.Tensor2D,
  [ofRows, ofColumns]: readonly [rows: number, columns: number],
  down: readonly Taps[],
  across: readonly Taps[],
): tf.Tensor2D {
  return tf.tidy(() => {
    const [rows, columns, width] = [down.length, across.length, table.shape[1]];
    const byRow = tf.matMul(matrixOf(down, ofRows), tf.reshape(table, [ofRows, ofColumns * width]));
    const byColumn = tf.transpose(tf.reshape(byRow, [rows, ofColumns, width]), [1, 0, 2]);
    const resized = tf.matMul(matrixOf(across, ofColumns), tf.reshape(byColumn, [ofColumns, rows * width]));
    return tf.reshape(tf.transpose(tf.reshape(resized, [columns, rows, width]), [1, 0, 2]), [rows * columns, width]);
  });
}

/** Resampling weights as a matrix, `[to, from]`. */
function matrixOf(taps: readonly Taps[], from: number): tf.Tensor2D {
  const values = new Float32Array(taps.length * from);
  taps.forEach(({first, weights}, row) => values.set(weights, row * from + first));
  return tf.tensor2d(values, [taps.length, from]);
}
