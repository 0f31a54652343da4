import * as tf from '@tensorflow/tfjs';
import {gradientByPhases, reverseRows} from './conv2dGradients';
import {type Axis, type ConvolutionAttributes, geometryOf, meetsOnlyZeros, padOrCrop, type Shape4D} from './geometry';

/**
 * The gradient of `depthwiseConv2d(x, kernel)` with respect to `x`, given the gradient `dy` [n, oh, ow, in · mult] of
 * its result:
 *
 *     dx[·, c] = Σ_ijm  dy[·, c, m] shifted by (i, j) · K[i, j, c, m]              → [n, h, w, in]
 */
export function depthwiseConv2dInputGradient(
  dy: tf.Tensor4D,
  kernel: tf.Tensor4D,
  inputShape: Shape4D,
  attrs: ConvolutionAttributes,
): tf.Tensor4D {
  const [kh, kw, channels, multiplier] = kernel.shape;
  const [n, h, w] = inputShape;
  const geometry = geometryOf(inputShape, kernel.shape, attrs);
  if (dy.size === 0) {
    return tf.zeros(inputShape);
  }
  return tf.tidy(() => {
    const outputs = channels * multiplier;
    const flipped = tf.reshape<tf.Rank.R4>(reverseRows(tf.reshape(kernel, [kh * kw, outputs])), [kh, kw, outputs, 1]);
    const gradient = gradientByPhases(
      ...([dy, flipped, geometry, [n, h, w, outputs] as Shape4D] as const),
      (image, taps, zeros) => tf.depthwiseConv2d(image, taps, 1, zeros),
    );
    return multiplier === 1 ? gradient : tf.sum<tf.Tensor4D>(tf.reshape(gradient, [n, h, w, channels, multiplier]), -1);
  });
}

/**
 * The gradient of `depthwiseConv2d(x, kernel)` with respect to the kernel, given the gradient `dy` [n, oh, ow, in ·
 * mult] of its result:
 *
 *     dK[i, j, c, m] = Σ_nyx  x[n, sh·y + i − top, sw·x + j − left, c] · dy[n, y, x, c, m]        → [kh, kw, in, mult]
 */
export function depthwiseConv2dFilterGradient(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  kernelShape: Shape4D,
  attrs: ConvolutionAttributes,
): tf.Tensor4D {
  const [kh, kw, channelsIn, multiplier] = kernelShape;
  const channels = channelsIn * multiplier;
  const {height, width} = geometryOf(x.shape, kernelShape, attrs);
  if (dy.size === 0 || meetsOnlyZeros(height) || meetsOnlyZeros(width)) {
    return tf.zeros(kernelShape);
  }
  return tf.tidy(() => {
    const phased = splitPhases(repeatChannels(x, multiplier), height, width);
    const [n, oh, ow] = dy.shape;
    const taps: tf.Tensor1D[] = [];
    for (let i = 0; i < kh; i++) {
      for (let j = 0; j < kw; j++) {
        const window = tf.slice(
          phased,
          [
            0,
            Math.floor(i / height.stride),
            i % height.stride,
            Math.floor(j / width.stride),
            (j % width.stride) * channels,
          ],
          [n, oh, 1, ow, channels],
        );
        taps.push(tf.sum(tf.mul(tf.reshape(window, dy.shape), dy), [0, 1, 2]));
      }
    }
    return tf.reshape(tf.concat(taps), kernelShape);
  });
}

/** [n, h, w, c] → [n, h, w, c · times], each channel `times` over. */
function repeatChannels(x: tf.Tensor4D, times: number): tf.Tensor4D {
  if (times === 1) {
    return x;
  }
  const [n, h, w, c] = x.shape;
  return tf.reshape(tf.tile(tf.reshape(x, [n * h * w, c, 1]), [1, 1, times]), [n, h, w, c * times]);
}

/** The padded image [n, sh · u, sw · v, c] as [n, u, sh, v, sw · c]: a window with strides is a plain slice of it. */
function splitPhases(x: tf.Tensor4D, height: Axis, width: Axis): tf.Tensor5D {
  const [n, h, w, c] = x.shape;
  const rows = height.output + Math.floor((height.kernel - 1) / height.stride);
  const columns = width.output + Math.floor((width.kernel - 1) / width.stride);
  const padded = padOrCrop(
    x,
    [height.before, rows * height.stride - height.before - h],
    [width.before, columns * width.stride - width.before - w],
  );
  return tf.reshape(padded, [n, rows, height.stride, columns, width.stride * c]);
}
