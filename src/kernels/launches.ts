import type * as tf from '@tensorflow/tfjs';

// What a backend may compute in one launch, or in few.

/** Operations in one launch each. They return `undefined` for tensors that they do not take. */
export interface OneLaunch {
  /**
   * `c + scale·a·b`, for a rank of few numbers: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`.
   */
  addProduct?(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor;
  /** `x·m + t` or `x·m` along the last axis. */
  affine?(x: tf.Tensor, m: tf.Tensor, t: tf.Tensor | undefined): tf.Tensor | undefined;
  /** The gradient of an activation from its output: `dy · f'(x)` given `y = f(x)`. */
  activationGradient?(name: OutputActivationName, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
}

/** The weights of `x·(W + s·A·B)`: `[.., in, out]`, `[.., in, rank]` and `[rank, out]`. */
export interface AdaptedWeights {
  readonly kernel: tf.Tensor;
  readonly a: tf.Tensor;
  readonly b: tf.Tensor;
  readonly scaling: number;
}

/** What becomes of a product `z`: `min(max(z·m + t, 0), cap)`, each part where it is there. */
export interface Outlet extends Partial<Scaling> {
  readonly cap?: number | undefined;
}

/** `x·(W + s·A·B)` for rows `x`, with what follows it. The last bits are not those of the parts by themselves. */
export interface AdaptedProduct {
  takes(rows: number, weights: Pick<AdaptedWeights, 'a' | 'b'>): boolean;
  /** `[.., in] → [.., out]`. */
  forward(x: tf.Tensor, weights: AdaptedWeights, outlet: Outlet): tf.Tensor;
  /** The gradients, for a gradient `dy` of the result `y`, which is needed with a cap alone. */
  backward(
    x: tf.Tensor,
    dy: tf.Tensor,
    y: tf.Tensor | undefined,
    weights: AdaptedWeights,
    outlet: Outlet,
  ): AdaptedGradients;
}

/** Gradients of a product, of which those that nobody asks for are not computed. */
export interface AdaptedGradients {
  /** The gradient of the product before its outlet. */
  readonly dz: tf.Tensor;
  readonly ofFactors: () => [a: tf.Tensor, b: tf.Tensor];
  readonly ofInput: () => tf.Tensor;
}

/** Activations whose gradients follow from their outputs. */
export type OutputActivationName = 'relu' | 'relu6' | 'sigmoid' | 'tanh';

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

/**
 * A convolution, a normalization by fixed statistics and a relu in one. The last bits are not those of the three by
 * themselves.
 */
export interface FusedConvolution {
  /** Whether it is faster at this convolution than the three by themselves. */
  takes(convolution: PlainConvolution): boolean;
  /** `(x ∗ W + b)·m + t`. */
  normalized(convolution: PlainConvolution, scaling: Scaling): tf.Tensor;
  /**
   * `y = min(max((x ∗ W + b)·m + t, 0), cap)`, and of each number a bit: whether it lies strictly between the bounds.
   * Where some are NaN, a factor of each instead: 1, 0 or NaN.
   */
  rectified(convolution: PlainConvolution, scaling: Scaling, cap: number): [y: tf.Tensor, mask: tf.Tensor];
  /** `dy` where the bit is set, else 0; `dy` times the factors. */
  masked(dy: tf.Tensor, mask: tf.Tensor): tf.Tensor;
}

/** The gradient of a convolution without dilation in its input, by a kernel that depends on the filter alone. */
export interface PreparedConvolution {
  /** The kernel: `[kh, kw, in, out] → [kh, kw, out, in]`. */
  adjointOf(filter: tf.Tensor4D): tf.Tensor4D;
  /** `[n, h', w', out] → [n, h, w, in]`. */
  inputGradient(
    dy: tf.Tensor4D,
    adjoint: tf.Tensor4D,
    inputShape: tf.Tensor4D['shape'],
    strides: [number, number],
    padding: 'valid' | 'same',
  ): tf.Tensor4D;
}
