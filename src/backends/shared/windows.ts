import * as tf from '@tensorflow/tfjs';
import {type Axis, axisOf} from './geometry';

// The windows of poolings, for the kernels of several backends.

/** A pooling over depth, height and width; one over height and width has depth 1. */
export interface Pooling {
  readonly batch: number;
  readonly channels: number;
  readonly axes: readonly [depth: Axis, height: Axis, width: Axis];
  readonly outShape: number[];
}

export function poolInfo(x: tf.Tensor, {filterSize, strides, pad, dimRoundingMode}: tf.MaxPoolGradAttrs) {
  const shape = x.shape as [number, number, number, number];
  return tf.backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
}

/** @throws Error if a window is larger than the images: tfjs would count less than no windows. */
export function pooling2D(x: tf.Tensor, attrs: tf.MaxPoolGradAttrs): Pooling {
  const info = poolInfo(x, attrs);
  tf.util.assertNonNegativeIntegerDimensions(info.outShape);
  return poolingOf(info, {input: 1, output: 1, kernel: 1, stride: 1, before: 0});
}

export function pooling3D(x: tf.Tensor, {filterSize, strides, pad, dimRoundingMode}: tf.MaxPool3DGradAttrs): Pooling {
  const info = tf.backend_util.computePool3DInfo(
    x.shape as [number, number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  return poolingOf(info, axisOf(info, 'Depth', info.padInfo.front));
}

function poolingOf(info: tf.backend_util.Conv2DInfo | tf.backend_util.Conv3DInfo, depth: Axis): Pooling {
  const {batchSize: batch, inChannels: channels, outShape, padInfo} = info;
  const axes = [depth, axisOf(info, 'Height', padInfo.top), axisOf(info, 'Width', padInfo.left)] as const;
  return {batch, channels, outShape, axes};
}

/** Calls `visit` for each window, with the positions of its first channel in `x` [n, d, h, w, c], and their number. */
export function eachWindow(
  {batch, channels, axes: [depth, height, width]}: Pooling,
  visit: (window: Int32Array, size: number) => void,
): void {
  const window = new Int32Array(depth.kernel * height.kernel * width.kernel);
  for (let n = 0; n < batch; n++) {
    for (let z = 0; z < depth.output; z++) {
      for (let y = 0; y < height.output; y++) {
        for (let column = 0; column < width.output; column++) {
          let size = 0;
          for (let k = first(depth, z); k < last(depth, z); k++) {
            for (let i = first(height, y); i < last(height, y); i++) {
              const line = ((n * depth.input + k) * height.input + i) * width.input;
              for (let j = first(width, column); j < last(width, column); j++) {
                window[size++] = (line + j) * channels;
              }
            }
          }
          visit(window, size);
        }
      }
    }
  }
}

function first({stride, before}: Axis, output: number): number {
  return Math.max(0, output * stride - before);
}

function last({input, kernel, stride, before}: Axis, output: number): number {
  return Math.min(input, output * stride - before + kernel);
}

/** The position in `x` [n, d, h, w, c] of the maximum of each window; −1 for a window that holds only padding. */
export function positionsOfMaxima(x: Float32Array, pooling: Pooling): Int32Array {
  const {channels, axes} = pooling;
  const positions = new Int32Array(pooling.batch * axes.reduce((size, {output}) => size * output, channels));
  let out = 0;
  eachWindow(pooling, (window, size) => {
    for (let channel = 0; channel < channels; channel++) {
      let maximum = -Infinity;
      let position = size === 0 ? -1 : (window[0] as number) + channel;
      for (let k = 0; k < size; k++) {
        const at = (window[k] as number) + channel;
        const value = x[at] as number;
        if (value > maximum) {
          maximum = value;
          position = at;
        }
      }
      positions[out++] = position;
    }
  });
  return positions;
}

/** Adds the gradient of each window to `dx`, where `x` has its maximum. */
export function addToMaxima(dx: Float32Array, x: Float32Array, gradients: Float32Array, pooling: Pooling): void {
  positionsOfMaxima(x, pooling).forEach((position, i) => {
    if (position >= 0) {
      dx[position] = (dx[position] as number) + (gradients[i] as number);
    }
  });
}
