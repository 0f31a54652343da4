import type * as tf from '@tensorflow/tfjs';

/** A convolution of channels-last images, without dilation. */
export interface PlainConvolution {
  readonly x: tf.Tensor4D;
  /** `[kh, kw, in, out]`, or `[kh, kw, c, 1]` for a depthwise one. */
  readonly filter: tf.Tensor4D;
  readonly bias: tf.Tensor | null;
  readonly depthwise: boolean;
  readonly strides: [number, number];
  readonly padding: 'valid' | 'same';
}

/** Scale and shift of the channels of a result, `[c]` each: a normalization by fixed statistics. */
export interface Scaling {
  readonly m: tf.Tensor;
  readonly t: tf.Tensor;
}

/** A convolution, a normalization by fixed statistics and a relu in one. The last bits are not those of the three by themselves. */
export interface Fusion {
  /** Whether it is faster at this convolution than the three by themselves. */
  takes(convolution: PlainConvolution): boolean;
  /** `(x ∗ W + b)·m + t`. */
  normalized(convolution: PlainConvolution, scaling: Scaling): tf.Tensor;
  /**
   * `y = min(max((x ∗ W + b)·m + t, 0), cap)`, and of each number a bit: whether it lies strictly between the bounds. Where some are NaN, a factor
   * of each instead: 1, 0 or NaN.
   */
  rectified(convolution: PlainConvolution, scaling: Scaling, cap: number): [y: tf.Tensor, mask: tf.Tensor];
  /** `dy` where the bit is set, else 0; `dy` times the factors. */
  masked(dy: tf.Tensor, mask: tf.Tensor): tf.Tensor;
}
