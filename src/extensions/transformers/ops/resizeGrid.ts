import * as tf from '@tensorflow/tfjs';
import {cubicTaps, filteredTaps, linearTaps, type Taps} from './resampling';

/** The weights of one axis, by the method. */
const TAPS = {
  linear: linearTaps,
  cubic: cubicTaps,
  antialiased: (from: number, to: number) => filteredTaps(from, to, 'bicubic'),
};

/**
 * Resizes the rows of a table that belong to the places of a grid, `[rows·columns, width]`, row by row: each place of
 * the result is a weighted sum of places of the table.
 *
 * @param grid the rows and columns of the table, and then those of the result.
 */
export function resizeGrid(
  table: tf.Tensor,
  [ofRows, ofColumns]: readonly [rows: number, columns: number],
  [rows, columns]: readonly [rows: number, columns: number],
  method: keyof typeof TAPS,
): tf.Tensor2D {
  return tf.tidy(() => {
    const [, width = 1] = table.shape;
    const [down, across] = [TAPS[method](ofRows, rows), TAPS[method](ofColumns, columns)];
    const byRow = tf.matMul(matrixOf(down, ofRows), tf.reshape(table, [ofRows, ofColumns * width]));
    const byColumn = tf.transpose(tf.reshape(byRow, [rows, ofColumns, width]), [1, 0, 2]);
    const resized = tf.matMul(matrixOf(across, ofColumns), tf.reshape(byColumn, [ofColumns, rows * width]));
    return tf.reshape(tf.transpose(tf.reshape(resized, [columns, rows, width]), [1, 0, 2]), [rows * columns, width]);
  });
}

/**
 * Resizes features, `[batch, rows, columns, channels]`, by bilinear interpolation between the centers of positions,
 * like PyTorch without `align_corners`. tfjs has no gradient for this.
 */
export function resizeFeatures(x: tf.Tensor4D, rows: number, columns: number): tf.Tensor4D {
  const [, ofRows, ofColumns] = x.shape;
  return tf.tidy(() => {
    const higher = rows === ofRows ? x : alongAxis(x, linearTaps(ofRows, rows), 1);
    return columns === ofColumns ? higher : alongAxis(higher, linearTaps(ofColumns, columns), 2);
  });
}

/** Replaces the positions of an axis by weighted sums of them. */
function alongAxis(x: tf.Tensor4D, taps: readonly Taps[], axis: 1 | 2): tf.Tensor4D {
  const count = x.shape[axis];
  const before = tf.util.sizeFromShape(x.shape.slice(0, axis));
  const shape = x.shape.map((size, i) => (i === axis ? taps.length : size)) as [number, number, number, number];
  const matrix = () => tf.expandDims<tf.Tensor3D>(matrixOf(taps, count), 0);
  const resize = tf.customGrad((grid: tf.Tensor | tf.GradSaveFunc) => ({
    value: tf.matMul(matrix(), grid as tf.Tensor3D),
    gradFunc: (dy: tf.Tensor) => tf.matMul(matrix(), dy, true),
  }));
  return tf.reshape(resize(tf.reshape(x, [before, count, -1])), shape);
}

/** Resampling weights as a matrix, `[to, from]`. */
function matrixOf(taps: readonly Taps[], from: number): tf.Tensor2D {
  const values = new Float32Array(taps.length * from);
  taps.forEach(({first, weights}, row) => values.set(weights, row * from + first));
  return tf.tensor2d(values, [taps.length, from]);
}
