import type * as tf from '@tensorflow/tfjs';
import {launchesOperations} from '../backends/tensorflow';
import {asMatrix, fromMatrix} from './factors';
import {product} from './kernels';
import type {Linear} from './linearOp';

/** The branch of the rank's width, `z = h·B` with `h = x ∗ A`, and its gradients. The layout of `h` is its own affair. */
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
 * With `h` of a product as `[r, n]`. TensorFlow shares the rows of a result out among its threads, which takes longer than to compute a
 * few columns of them; a few rows it computes at once. Transposed operands cost it nothing.
 */
const TURNED: LowRank = {
  project: (x, a) => product(a, x, true, true), // [r, in] · [in, n]
  expand: (h, b) => product(h, b, true), // [n, r] · [r, out]
  collect: (dz, b) => product(b, dz, false, true), // [r, out] · [out, n]
  inputGradient: (dh, a) => product(dh, a, true, true), // [n, r] · [r, in]
  gradientOfA: (x, dh) => product(x, dh, true, true), // [in, n] · [n, r]
  gradientOfB: (h, dz) => product(h, dz), // [r, n] · [n, out]
};
