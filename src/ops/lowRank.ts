import type * as tf from '@tensorflow/tfjs';
import {launchesOperations} from '../backends/tensorflow';
import {asMatrix, fromMatrix} from './factors';
import {type FusedActivation, product} from './kernels';
import type {Prepared} from './lazyOp';

/** An operation that is linear in its input and in its kernel: a product, a convolution. */
export interface Linear {
  /** Whether it is the product of two matrices. */
  readonly isProduct?: boolean;
  /** `activation(x ∗ W + b)`: the very call that the stock layer makes. */
  forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | null, activation: FusedActivation): tf.Tensor;
  /** The gradient in `x`, for a gradient `dz` of `x ∗ W`. With `prepared`, what depends on the kernel alone may be kept there. */
  inputGradient(dz: tf.Tensor, kernel: tf.Tensor, inputShape: number[], prepared?: Prepared): tf.Tensor;
  /** The gradient in a kernel of the given shape, for a gradient `dz` of `x ∗ W`. */
  kernelGradient(x: tf.Tensor, dz: tf.Tensor, kernelShape: number[]): tf.Tensor;
}

/** The branch of the rank's width, `z = h·B` with `h = x ∗ A`, and its gradients. Only these know the layout of `h`. */
export interface LowRank {
  /** `h = x ∗ A`. */
  project(x: tf.Tensor, a: tf.Tensor): tf.Tensor;
  /** `z = h·B`, in the shape of the output. */
  expand(h: tf.Tensor, b: tf.Tensor): tf.Tensor;
  /** The gradient in `h`, `dz·Bᵀ`. */
  collect(dz: tf.Tensor, b: tf.Tensor): tf.Tensor;
  /** The gradient in `x`, for a gradient of `h`. */
  inputGradient(dh: tf.Tensor, a: tf.Tensor, inputShape: number[]): tf.Tensor;
  /** The gradient in `A`, of the given shape. */
  gradientOfA(x: tf.Tensor, dh: tf.Tensor, shape: number[]): tf.Tensor;
  /** The gradient in `B`, `hᵀ·dz`. */
  gradientOfB(h: tf.Tensor, dz: tf.Tensor): tf.Tensor;
}

/** The branch beside a linear operation. */
export function lowRankOf(op: Linear): LowRank {
  return op.isProduct && launchesOperations() ? TURNED : alike(op);
}

/** With `h` as the operation itself gives it: `[.., r]`. */
function alike(op: Linear): LowRank {
  const multiply = (x: tf.Tensor, matrix: tf.Tensor, transposed = false) =>
    fromMatrix(product(asMatrix(x), matrix, false, transposed), x.shape);
  return {
    project: (x, a) => op.forward(x, a, null, 'linear'),
    expand: (h, b) => multiply(h, b), // [.., r] · [r, out] → [.., out]
    collect: (dz, b) => multiply(dz, b, true), // [.., out] · [out, r] → [.., r]
    inputGradient: (dh, a, inputShape) => op.inputGradient(dh, a, inputShape),
    gradientOfA: (x, dh, shape) => op.kernelGradient(x, dh, shape),
    gradientOfB: (h, dz) => product(asMatrix(h), asMatrix(dz), true), // [r, rows] · [rows, out]
  };
}

/**
 * The branch of a product with `h` as `[r, n]`. TensorFlow divides the rows of a result among its threads. For many rows of a few columns that takes
 * longer than the computation; a few rows it computes at once. Transposed operands cost it nothing.
 */
const TURNED: LowRank = {
  project: (x, a) => product(a, x, true, true), // [r, in] · [in, n]
  expand: (h, b) => product(h, b, true), // [n, r] · [r, out]
  collect: (dz, b) => product(b, dz, false, true), // [r, out] · [out, n]
  inputGradient: (dh, a) => product(dh, a, true, true), // [n, r] · [r, in]
  gradientOfA: (x, dh) => product(x, dh, true, true), // [in, n] · [n, r]
  gradientOfB: (h, dz) => product(h, dz), // [r, n] · [n, out]
};
