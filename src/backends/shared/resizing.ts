import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from './kernel';
import type {OwnKernel} from './registration';

// tfjs's gradients ignore `halfPixelCenters`. Those of its cpu backend use an image's height for its width, and the
// size of an image for that of a resized one, so that only the first of several is right. A resize is linear along each
// axis, so here it is a product with a matrix.

/** How the pixels of a result are placed among those of an image. */
export interface Alignment {
  alignCorners: boolean;
  halfPixelCenters: boolean;
}

/** The parts that pixels of an image have in a pixel of the result, along one axis. */
type Parts = (index: number, from: number, to: number, alignment: Alignment) => [pixel: number, share: number][];

function sourcePixelsPerPixel(from: number, to: number, {alignCorners}: Alignment): number {
  return alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;
}

/** Bilinear. */
export const bilinear: Parts = (i, from, to, alignment) => {
  const scale = sourcePixelsPerPixel(from, to, alignment);
  const place = alignment.halfPixelCenters ? (i + 0.5) * scale - 0.5 : i * scale;
  const low = Math.floor(place);
  const share = Math.fround(place - low);
  return [
    [Math.max(low, 0), 1 - share],
    [Math.min(low + 1, from - 1), share],
  ];
};

/** The nearest pixel. */
export const nearest: Parts = (i, from, to, alignment) => {
  const scale = sourcePixelsPerPixel(from, to, alignment);
  const place = alignment.halfPixelCenters ? (i + 0.5) * scale : i * scale;
  return [[alignment.alignCorners ? Math.round(place) : Math.floor(place), 1]];
};

/** How much of each pixel goes into each pixel of the result, along one axis: `[out, in]`. */
function resizingMatrix(from: number, to: number, parts: Parts, alignment: Alignment): tf.Tensor2D {
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    for (const [pixel, share] of parts(i, from, to, alignment)) {
      const at = i * from + Math.min(Math.max(pixel, 0), from - 1);
      weights[at] = (weights[at] ?? 0) + share;
    }
  }
  return tf.tensor2d(weights, [to, from]);
}

/** The gradient in images `[n, h, w, c]`, for one of the resized ones. */
export function resizeGradient(dy: tf.Tensor, shape: readonly number[], parts: Parts, alignment: Alignment): tf.Tensor {
  return tf.tidy(() => {
    const [n = 0, h = 0, w = 0, c = 0] = shape;
    const [, height = 0, width = 0] = dy.shape;
    const rows = resizingMatrix(h, height, parts, alignment);
    const columns = resizingMatrix(w, width, parts, alignment);
    const across = multiplied(tf.transpose(dy, [0, 1, 3, 2]), columns); // [n, height, c, width] · [width, w]
    const down = multiplied(tf.transpose(across, [0, 3, 2, 1]), rows); // [n, w, c, height] · [height, h]
    return tf.reshape(tf.transpose(down, [0, 3, 1, 2]), [n, h, w, c]);
  });
}

/** The kernel of a resize's gradient, with the alignments that the backend gets wrong for some images. */
export function resizeGradientKernel(
  name: string,
  parts: Parts,
  isWrong: (alignment: Alignment, shape: readonly number[]) => boolean,
): OwnKernel {
  return wrappedKernel<Record<'images' | 'dy', tf.Tensor>, Alignment>(name, stock => call => {
    const {
      inputs: {images, dy},
      attrs,
    } = call;
    return isWrong(attrs, images.shape) ? resizeGradient(dy, images.shape, parts, attrs) : stock(call);
  });
}

/** The last axis times a matrix. */
function multiplied(x: tf.Tensor, matrix: tf.Tensor2D): tf.Tensor {
  const [from, to] = matrix.shape;
  return tf.reshape(tf.matMul(tf.reshape(x, [-1, from]), matrix), [...x.shape.slice(0, -1), to]);
}
