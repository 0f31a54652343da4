import * as tf from '@tensorflow/tfjs';
import {
  type Axis,
  behind,
  type ConvolutionAttributes,
  cropNegative,
  type ExplicitPadding,
  everyNth,
  type Geometry,
  geometryOf,
  meetsOnlyZeros,
  type Shape4D,
} from './geometry';

/**
 * The kernel of the adjoint convolution: rotated by 180°, with in and out exchanged.
 *
 *     K'[i, j, o, c] = K[kh − 1 − i, kw − 1 − j, c, o]      [kh, kw, in, out] → [kh, kw, out, in]
 */
export function adjointKernel(kernel: tf.Tensor4D): tf.Tensor4D {
  const [kh, kw, channelsIn, channelsOut] = kernel.shape;
  return tf.tidy(() => {
    const taps = tf.transpose(tf.reshape(kernel, [kh * kw, channelsIn, channelsOut]), [0, 2, 1]);
    return tf.reshape(reverseRows(taps), [kh, kw, channelsOut, channelsIn]);
  });
}

/** `x` with its first axis reversed. (`tf.reverse` takes 27 ns a value on wasm.) */
export function reverseRows<T extends tf.Tensor>(x: T): T {
  return x.shape[0] === 1 ? x : tf.concat<T>(tf.split<T>(x, x.shape[0]).reverse());
}

/**
 * The gradient of `conv2d(x, kernel)` with respect to `x`, given the gradient `dy` [n, oh, ow, out] of its result and
 * `adjoint = adjointKernel(kernel)`:
 *
 *     dx = Σ_ij  dy shifted by (i, j) · K[i, j]ᵀ            [n, oh, ow, out] → [n, h, w, in]
 *
 * With stride 1 this is a convolution of the padded `dy`; with strides it is one for each phase of the input.
 */
export function conv2dInputGradient(
  dy: tf.Tensor4D,
  adjoint: tf.Tensor4D,
  inputShape: Shape4D,
  attrs: ConvolutionAttributes,
): tf.Tensor4D {
  const [kh, kw, channelsOut, channelsIn] = adjoint.shape;
  const geometry = geometryOf(inputShape, [kh, kw, channelsIn, channelsOut], attrs);
  if (dy.size === 0) {
    return tf.zeros(inputShape);
  }
  return tf.tidy(() =>
    gradientByPhases(dy, adjoint, geometry, inputShape, (image, kernel, zeros) => tf.conv2d(image, kernel, 1, zeros)),
  );
}

/**
 * The gradient of `conv2d(x, kernel)` with respect to the kernel, given the gradient `dy` [n, oh, ow, out] of its
 * result:
 *
 *     dK[i, j] = Σ_nyx  x[n, sh·y + i − top, sw·x + j − left]ᵀ · dy[n, y, x]        → [kh, kw, in, out]
 *
 * It is one convolution: the input's channels as images, its images as channels, and `dy` as a kernel as large as the
 * image, dilated by the strides.
 */
export function conv2dFilterGradient(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  kernelShape: Shape4D,
  attrs: ConvolutionAttributes,
): tf.Tensor4D {
  const {height, width} = geometryOf(x.shape, kernelShape, attrs);
  if (dy.size === 0 || meetsOnlyZeros(height) || meetsOnlyZeros(width)) {
    return tf.zeros(kernelShape);
  }
  return tf.tidy(() => {
    const {image, pad: padding} = cropNegative(
      tf.transpose(x, [3, 1, 2, 0]), // [in, h, w, n]
      [height.before, behind(height)],
      [width.before, behind(width)],
    );
    const filter = tf.transpose(dy, [1, 2, 0, 3]); // [oh, ow, n, out]
    const dilations: [number, number] = [height.stride, width.stride];
    const gradient = tf.conv2d(image, filter, 1, padding as ExplicitPadding, 'NHWC', dilations); // [in, kh, kw, out]
    return tf.transpose(gradient, [1, 2, 0, 3]);
  });
}

/**
 * The gradient of a convolution with respect to its input, `[n, h, w, c]`, phase by phase: at the inputs of one it is a
 * convolution of `dy` without a stride, with the taps that reach them.
 *
 * @param flipped the kernel with its taps reversed, `[kh, kw, ..]`.
 */
export function gradientByPhases(
  dy: tf.Tensor4D,
  flipped: tf.Tensor4D,
  {height, width}: Pick<Geometry, 'height' | 'width'>,
  shape: Shape4D,
  convolve: (image: tf.Tensor4D, kernel: tf.Tensor4D, pad: ExplicitPadding) => tf.Tensor4D,
): tf.Tensor4D {
  const ofPhase = (row: Phase, column: Phase): tf.Tensor4D => {
    if (row.taps === 0 || column.taps === 0) {
      return tf.zeros([dy.shape[0], row.size, column.size, shape[3]]);
    }
    const rows = everyNth(flipped, 0, row.firstTap, row.taps, height.stride);
    const kernel = everyNth(rows, 1, column.firstTap, column.taps, width.stride);
    const {image, pad} = cropNegative(dy, [row.before, row.after], [column.before, column.after]);
    return convolve(image, kernel, pad as ExplicitPadding);
  };
  const rows = phases(height).map(row => phases(width).map(column => ofPhase(row, column)));
  return interleave(rows, width.stride, shape);
}

/**
 * The outputs of a strided convolution that meet one and the same subset of taps when its gradient is taken.
 *
 * The inputs `stride·u + offset` read only the taps `i ≡ offset + before (mod stride)`, so the gradient at them is a
 * convolution without a stride, of `dy` with those taps reversed.
 */
interface Phase {
  /** First of the reversed taps that take part; the others follow at steps of `stride`. */
  readonly firstTap: number;
  /** Number of taps that take part; may be zero. */
  readonly taps: number;
  /** Zeros before and after `dy`; a negative number crops. */
  readonly before: number;
  readonly after: number;
  /** Number of inputs in the phase: `ceil(input / stride)`, so that all phases are of one size. */
  readonly size: number;
}

/** The phases `0 … stride − 1` of an axis; each has `ceil(input / stride)` outputs. */
function phases({input, output, kernel, stride, before: padding}: Axis): Phase[] {
  const size = Math.ceil(input / stride);
  return Array.from({length: stride}, (_, offset) => {
    const residue = (offset + padding) % stride;
    const shift = Math.floor((offset + padding) / stride);
    const taps = Math.max(0, Math.ceil((kernel - residue) / stride));
    const before = taps - 1 - shift;
    const after = shift + size - output;
    const meetsNothing = taps === 0 || -before >= output || -after >= output;
    return {
      firstTap: kernel - 1 - residue - stride * (taps - 1),
      taps: meetsNothing ? 0 : taps,
      before,
      after,
      size,
    };
  });
}

/**
 * Puts the phases of an image together: pixel (sh·u + i, sw·v + j) is pixel (u, v) of `rows[i][j]`.
 *
 * sh × sw images [n, u, v, c] → [n, h, w, c]; of the last pixels, those beyond h and w are cropped.
 */
function interleave(
  rows: readonly (readonly tf.Tensor4D[])[],
  strideWidth: number,
  [n, h, w, c]: Shape4D,
): tf.Tensor4D {
  const u = Math.ceil(h / rows.length);
  const v = Math.ceil(w / strideWidth);
  // [n, u, v, c] × sw → [n, u, v, sw · c], read as [n, u, 1, v · sw · c]; × sh → [n, u, sh, v · sw · c]
  const lines = rows.map(row => tf.reshape(concat(row, 3), [n, u, 1, v * strideWidth * c]));
  const image = tf.reshape<tf.Rank.R4>(concat(lines, 2), [n, u * rows.length, v * strideWidth, c]);
  return image.shape[1] === h && image.shape[2] === w ? image : tf.slice(image, [0, 0, 0, 0], [n, h, w, c]);
}

/** `tf.concat`, which copies even a single tensor. */
function concat<T extends tf.Tensor>(tensors: readonly T[], axis: number): T {
  const [first, ...laterTensors] = tensors as [T, ...T[]];
  return laterTensors.length === 0 ? first : tf.concat<T>([first, ...laterTensors], axis);
}
