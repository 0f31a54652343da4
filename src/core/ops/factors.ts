import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch} from '../../backends/shared/capabilities';
import type {FusedActivation} from './activation';

/** The factors of a low-rank update `s·A·B` of a kernel `[...fan-in axes, ...out axes]`. Most have one out axis. */
export interface Factors {
  /** `[...fan-in axes, rank]`. */
  a: tf.Tensor;
  /** `[rank, ...out axes]`. */
  b: tf.Tensor;
  /** The factor `s`. */
  scaling: number;
}

/** How many inputs an output has, and how many outputs there are, of a kernel `[...fan-in axes, ...out axes]`. */
export function fans(kernelShape: readonly number[], outAxes = 1): {fanIn: number; fanOut: number} {
  return {
    fanIn: tf.util.sizeFromShape(kernelShape.slice(0, -outAxes)),
    fanOut: tf.util.sizeFromShape(kernelShape.slice(-outAxes)),
  };
}

/** `s·A·B` in the shape of the kernel. */
export function delta({a, b, scaling}: Factors): tf.Tensor {
  return tf.tidy(() => {
    const [rank = 1, ...out] = b.shape;
    // [fan-in, r] · [r, out] → [fan-in, out]
    const update = product(asMatrix(a), inShape(scaled(b, scaling), [rank, -1]));
    return inShape(update, [...a.shape.slice(0, -1), ...out]);
  });
}

/** `W + s·A·B`, or `W` itself without factors. Where `B` is zero the sum is `W`, bit for bit. */
export function updatedKernel(kernel: tf.Tensor, factors: Factors | null): tf.Tensor {
  return factors === null
    ? kernel
    : (oneLaunch()?.addProduct?.(kernel, factors.a, factors.b, factors.scaling, false) ??
        tf.tidy(() => tf.add(kernel, delta(factors))));
}

/** The gradients of `A` and `B`, from the gradient of the kernel that they update. */
export function factorGradients(
  kernelGradient: tf.Tensor,
  {a, b, scaling}: Factors,
): Record<'a' | 'b', () => tf.Tensor> {
  const [rank = 1, ...out] = b.shape;
  const columns = tf.util.sizeFromShape(out);
  const dw = inShape<tf.Tensor2D>(kernelGradient, [-1, columns]); // [fan-in, out]
  return {
    // [fan-in, out] · [out, r]
    a: () => fromMatrix(product(dw, scaled(inShape(b, [rank, columns]), scaling), false, true), a.shape),
    // [r, fan-in] · [fan-in, out]
    b: () => inShape(scaled(product(asMatrix(a), dw, true), scaling), b.shape),
  };
}

/** An operation that is linear in its input and in its kernel: a product, a convolution. */
export interface Linear {
  /** Whether it is the product of two matrices. */
  readonly isProduct?: boolean;
  /** Whether, with a kernel of size 1, each row of the result is the product of a row of the input. */
  readonly isByRow?: boolean;
  /** `activation(x ∗ W + b)`: the very call that the stock layer makes. */
  forward(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | null, activation: FusedActivation): tf.Tensor;
  /** The gradient in `x`, for a gradient `dz` of `x ∗ W`. */
  inputGradient(dz: tf.Tensor, kernel: tf.Tensor, inputShape: number[]): tf.Tensor;
  /** The gradient in a kernel of the given shape, for a gradient `dz` of `x ∗ W`. */
  kernelGradient(x: tf.Tensor, dz: tf.Tensor, kernelShape: number[]): tf.Tensor;
}

/** The branch of rank width, `z = h·B` with `h = x ∗ A`, and its gradients. Only these know the layout of `h`. */
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

/** The update of a linear operation, as a separate branch. */
export function lowRankOf(op: Linear): LowRank {
  return op.isProduct && capabilities().launchesOperations ? TRANSPOSED : alike(op);
}

/** With `h` as the operation itself gives it: `[.., r]`. */
function alike(op: Linear): LowRank {
  const timesRank = (x: tf.Tensor, matrix: tf.Tensor, transposed = false) =>
    fromMatrix(product(asMatrix(x), matrix, false, transposed), x.shape);
  return {
    project: (x, a) => op.forward(x, a, null, 'linear'),
    expand: (h, b) => timesRank(h, b), // [.., r] · [r, out] → [.., out]
    collect: (dz, b) => timesRank(dz, b, true), // [.., out] · [out, r] → [.., r]
    inputGradient: (dh, a, inputShape) => op.inputGradient(dh, a, inputShape),
    gradientOfA: (x, dh, shape) => op.kernelGradient(x, dh, shape),
    gradientOfB: (h, dz) => product(asMatrix(h), asMatrix(dz), true), // [r, rows] · [rows, out]
  };
}

/**
 * The branch of a product with `h` as `[r, n]`. TensorFlow divides the rows of a result among its threads. For many
 * rows of a few columns that takes longer than the computation; a few rows it computes at once. Transposed operands
 * cost it nothing.
 */
const TRANSPOSED: LowRank = {
  project: (x, a) => product(a, x, true, true), // [r, in] · [in, n]
  expand: (h, b) => product(h, b, true), // [n, r] · [r, out]
  collect: (dz, b) => product(b, dz, false, true), // [r, out] · [out, n]
  inputGradient: (dh, a) => product(dh, a, true, true), // [n, r] · [r, in]
  gradientOfA: (x, dh) => product(x, dh, true, true), // [in, n] · [n, r]
  gradientOfB: (h, dz) => product(h, dz), // [r, n] · [n, out]
};

/** A tensor with all axes but the last joined: pixels as rows, or a kernel as `[fan-in, out]`. */
export function asMatrix(x: tf.Tensor): tf.Tensor2D {
  return inShape(x, [-1, lastAxis(x.shape)]);
}

/** `y + b` along the last axis. */
export function addBias(y: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  return perOutput(y, rows => tf.add(rows, bias));
}

/** `y ⊙ g` along the last axis. */
export function gained(y: tf.Tensor, gain: tf.Tensor): tf.Tensor {
  return perOutput(y, rows => tf.mul(rows, gain));
}

/** What `f` returns for a tensor and a vector. webgpu's shader for five axes is invalid: those become rows. */
function perOutput(y: tf.Tensor, f: (rows: tf.Tensor) => tf.Tensor): tf.Tensor {
  return y.rank <= 4 ? f(y) : tf.reshape(f(asMatrix(y)), y.shape);
}

/** A matrix with its rows spread over the leading axes of the given shape. The inverse of `asMatrix`. */
export function fromMatrix(rows: tf.Tensor2D, shape: readonly number[]): tf.Tensor {
  return inShape(rows, [...shape.slice(0, -1), lastAxis(rows.shape)]);
}

/** `tf.reshape`, skipped if the shape is the same, because it would still be a launch. */
export function inShape<T extends tf.Tensor>(x: tf.Tensor, shape: number[]): T {
  const fits = x.rank === shape.length && shape.every((length, i) => length === -1 || length === x.shape[i]);
  return (fits ? x : tf.reshape(x, shape)) as T;
}

/** `s·B`, or `s` times its gradient: scaling a tensor of a factor's size costs next to nothing. */
export function scaled<T extends tf.Tensor>(b: T, scaling: number): T {
  return scaling === 1 ? b : tf.mul(b, scaling);
}

export function lastAxis(shape: readonly number[]): number {
  return shape[shape.length - 1] ?? 1;
}

/** `op(a)·op(b)` of two matrices by the fastest kernel. The last bits may differ from those of stock products. */
export function product(a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor2D {
  const byBackend = capabilities().matrixProduct?.(a, b, transposeA, transposeB) as tf.Tensor2D | undefined;
  return byBackend ?? tf.matMul<tf.Tensor2D>(a, b, transposeA, transposeB);
}
