import * as tf from '@tensorflow/tfjs';
import {
  type Axis,
  behind,
  cropNegative,
  type ExplicitPadding,
  everyNth,
  geometryOf,
  interleave,
  meetsOnlyZeros,
  padOrCrop,
  phases,
  type Padding,
  type Phase,
  type Rounding,
  type Shape4D,
  type Strides,
} from './geometry';

/** How many channels' gradients may share one image, best first. */
const GROUPS = [4, 3, 2, 1];

/**
 * The kernel of the adjoint convolution: turned by 180° and with in and out exchanged.
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

/** `x` with its first axis reversed. (`tf.reverse` takes 27 ns a number on wasm.) */
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
  strides: Strides,
  pad: Padding,
  rounding?: Rounding,
): tf.Tensor4D {
  const [kh, kw, channelsOut, channelsIn] = adjoint.shape;
  const {height, width} = geometryOf(inputShape, [kh, kw, channelsIn, channelsOut], strides, pad, {rounding});
  if (dy.size === 0) {
    return tf.zeros(inputShape);
  }
  return tf.tidy(() => {
    const rows = phases(height).map(row =>
      phases(width).map(column => convolvePhase(dy, adjoint, row, column, height.stride, width.stride)),
    );
    return interleave(rows, width.stride, inputShape);
  });
}

/** The gradient at the inputs of one phase: `dy` * the taps that reach them → [n, u, v, in]. */
function convolvePhase(
  dy: tf.Tensor4D,
  adjoint: tf.Tensor4D,
  row: Phase,
  column: Phase,
  strideHeight: number,
  strideWidth: number,
): tf.Tensor4D {
  const n = dy.shape[0];
  if (row.taps === 0 || column.taps === 0) {
    return tf.zeros([n, row.size, column.size, adjoint.shape[3]]);
  }
  const {image, pad} = cropNegative(dy, [row.before, row.after], [column.before, column.after]);
  const kernel = everyNth(
    everyNth(adjoint, 0, row.firstTap, row.taps, strideHeight),
    1,
    column.firstTap,
    column.taps,
    strideWidth,
  );
  return tf.conv2d(image, kernel, 1, pad as ExplicitPadding);
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
  strides: Strides,
  pad: Padding,
  rounding?: Rounding,
): tf.Tensor4D {
  const [kh, kw, channelsIn, channelsOut] = kernelShape;
  const [n, h, w] = x.shape;
  const {height, width} = geometryOf(x.shape, kernelShape, strides, pad, {rounding});
  if (dy.size === 0 || meetsOnlyZeros(height) || meetsOnlyZeros(width)) {
    return tf.zeros(kernelShape);
  }
  return tf.tidy(() => {
    if (kh === 1 && kw === 1) {
      return tf.reshape(productOverPixels(x, dy, height, width), kernelShape);
    }
    // XNNPACK computes four pixels of an image at a time, so the few pixels of dK of several channels share one image.
    const group = GROUPS.find(size => channelsIn % size === 0) as number;
    const images = channelsIn / group;
    const {image, pad: padding} = cropNegative(
      tf.reshape<tf.Rank.R4>(tf.transpose(tf.reshape(x, [n, h * w, images, group]), [2, 1, 3, 0]), [
        images,
        h,
        w * group,
        n,
      ]),
      [height.before, behind(height)],
      [width.before * group, behind(width) * group],
    );
    const gradient = tf.conv2d(
      image,
      tf.transpose(dy, [1, 2, 0, 3]), // [oh, ow, n, out]
      1,
      padding as ExplicitPadding,
      'NHWC',
      [height.stride, width.stride * group],
    ); // [images, kh, kw · group, out]
    return tf.reshape(
      tf.transpose(tf.reshape(gradient, [images, kh * kw, group * channelsOut]), [1, 0, 2]),
      kernelShape,
    );
  });
}

/** xᵀ · dy over all pixels, of `x` those that a 1×1 kernel reads: [n, h, w, in], [n, oh, ow, out] → [in, out]. */
function productOverPixels(x: tf.Tensor4D, dy: tf.Tensor4D, height: Axis, width: Axis): tf.Tensor2D {
  const [, oh, ow, channelsOut] = dy.shape;
  const channelsIn = x.shape[3];
  const padded = padOrCrop(x, [height.before, behind(height)], [width.before, behind(width)]);
  const read = everyNth(everyNth(padded, 1, 0, oh, height.stride), 2, 0, ow, width.stride);
  return tf.matMul(tf.reshape<tf.Rank.R2>(read, [-1, channelsIn]), tf.reshape<tf.Rank.R2>(dy, [-1, channelsOut]), true);
}
