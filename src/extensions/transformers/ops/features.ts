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
