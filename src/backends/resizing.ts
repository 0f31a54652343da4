import * as tf from '@tensorflow/tfjs';

// The gradients of tfjs leave `halfPixelCenters` out of account. A resize is linear in each axis, so it is a product with a matrix.

/** How much of each pixel goes into each pixel of the result, along one axis: `[out, in]`. */
type Weights = (from: number, to: number) => Float32Array;

/** Bilinear, with the centres of pixels at halves. */
export const bilinear: Weights = (from, to) =>
  weightsOf(from, to, place => {
    const low = Math.floor(place);
    const share = Math.fround(place - low);
    return [
      [Math.max(low, 0), 1 - share],
      [Math.min(low + 1, from - 1), share],
    ];
  });

/** The nearest pixel, with the centres of pixels at halves. */
export const nearest: Weights = (from, to) => weightsOf(from, to, place => [[Math.floor(place + 0.5), 1]]);

function weightsOf(from: number, to: number, parts: (place: number) => [pixel: number, share: number][]): Float32Array {
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    for (const [pixel, share] of parts(((i + 0.5) * from) / to - 0.5)) {
      const at = i * from + Math.min(Math.max(pixel, 0), from - 1);
      weights[at] = (weights[at] ?? 0) + share;
    }
  }
  return weights;
}

/** The gradient in images `[n, h, w, c]`, for one of the resized ones. */
export function resizeGradient(dy: tf.Tensor, shape: readonly number[], weights: Weights): tf.Tensor {
  return tf.tidy(() => {
    const [n = 0, h = 0, w = 0, c = 0] = shape;
    const [, height = 0, width = 0] = dy.shape;
    const rows = tf.tensor2d(weights(h, height), [height, h]);
    const columns = tf.tensor2d(weights(w, width), [width, w]);
    const across = multiplied(byLast(dy, 2), columns); // [n, height, c, width] · [width, w]
    const down = multiplied(tf.transpose(across, [0, 3, 2, 1]), rows); // [n, w, c, height] · [height, h]
    return tf.reshape(tf.transpose(down, [0, 3, 1, 2]), [n, h, w, c]);
  });
}

/** The last axis times a matrix. */
function multiplied(x: tf.Tensor, matrix: tf.Tensor2D): tf.Tensor {
  const [from, to] = matrix.shape;
  return tf.reshape(tf.matMul(tf.reshape(x, [-1, from]), matrix), [...x.shape.slice(0, -1), to]);
}

/** Images with the given axis exchanged for the channels. */
function byLast(x: tf.Tensor, axis: number): tf.Tensor {
  const order = [0, 1, 2, 3];
  [order[axis], order[3]] = [3, axis];
  return tf.transpose(x, order);
}
