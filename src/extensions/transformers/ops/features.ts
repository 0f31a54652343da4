import * as tf from '@tensorflow/tfjs';

// Rows and columns of features, `[batch, height, width, channels]`.

/** Moves rows and columns up and left, around the edges; if `back`, down and right. */
export function rolled(x: tf.Tensor, by: number, back = false): tf.Tensor {
  const along = (y: tf.Tensor, axis: 1 | 2): tf.Tensor => {
    const length = y.shape[axis] as number;
    const first = (((back ? -by : by) % length) + length) % length;
    if (first === 0) {
      return y;
    }
    const [before, after] = tf.split(y, [first, length - first], axis) as [tf.Tensor, tf.Tensor];
    return tf.concat([after, before], axis);
  };
  return along(along(x, 1), 2);
}

/** Adds zeros below and to the right, to whole pieces. */
export function paddedToPieces(x: tf.Tensor, pieces: readonly [height: number, width: number]): tf.Tensor {
  const [down = 0, across = 0] = pieces.map((piece, i) => {
    const edge = x.shape[i + 1] as number;
    return Math.ceil(edge / piece) * piece - edge;
  });
  return down === 0 && across === 0 ? x : tf.pad(x, [[0, 0], [0, down], [0, across], [0, 0]]); // prettier-ignore
}

/** The first rows and columns, as many as other features have. */
export function croppedLike(x: tf.Tensor, {shape: [, height = 1, width = 1]}: tf.Tensor): tf.Tensor {
  const [batch = 1, rows, columns, channels = 1] = x.shape;
  return height === rows && width === columns ? x : tf.slice(x, [0, 0, 0, 0], [batch, height, width, channels]);
}

/** For each pair of positions, the class token first, the row of their distance in the table. */
export function patchPairs(rows: number, columns: number): tf.Tensor2D {
  const count = 1 + rows * columns;
  const [height, width] = [2 * rows - 1, 2 * columns - 1];
  const [fromToken, toToken, itself] = [0, 1, 2].map(i => height * width + i) as [number, number, number];
  const indices = Int32Array.from({length: count ** 2}, (_, pair) => {
    const [query, key] = [Math.floor(pair / count) - 1, (pair % count) - 1];
    if (query < 0 || key < 0) {
      return query >= 0 ? toToken : key >= 0 ? fromToken : itself;
    }
    const down = Math.floor(query / columns) - Math.floor(key / columns) + rows - 1;
    return down * width + (query % columns) - (key % columns) + columns - 1;
  });
  return tf.tensor2d(indices, [count, count], 'int32');
}
