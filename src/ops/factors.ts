import * as tf from '@tensorflow/tfjs';
import {product} from './kernels';

/** The factors of a low-rank update `s·A·B` of a kernel `[...fan-in axes, out]`. */
export interface Factors {
  /** `[...fan-in axes, rank]`. */
  a: tf.Tensor;
  /** `[rank, out]`. */
  b: tf.Tensor;
  /** The factor `s`. */
  scaling: number;
}

/** Shapes of `A` and `B` for a kernel `[...fan-in axes, out]`. */
export function factorShapes(kernelShape: readonly number[], rank: number): {a: number[]; b: number[]} {
  return {a: [...kernelShape.slice(0, -1), rank], b: [rank, fans(kernelShape).fanOut]};
}

/** How many numbers one output is computed from, and how many outputs there are, for a kernel `[...fan-in axes, out]`. */
export function fans(kernelShape: readonly number[]): {fanIn: number; fanOut: number} {
  return {fanIn: tf.util.sizeFromShape(kernelShape.slice(0, -1)), fanOut: lastAxis(kernelShape)};
}

/** `s·A·B` in the shape of the kernel. */
export function delta({a, b, scaling}: Factors): tf.Tensor {
  return tf.tidy(() => {
    const update = product(asMatrix(a), scaled(b, scaling)); // [fan-in, r] · [r, out] → [fan-in, out]
    return fromMatrix(update, a.shape);
  });
}

/** `W + s·A·B`. Where `B` is zero this is `W`, bit for bit. */
export function updatedKernel(kernel: tf.Tensor, factors: Factors): tf.Tensor {
  return tf.tidy(() => tf.add(kernel, delta(factors)));
}

/** A tensor with all axes but the last joined: pixels as rows, or a kernel as `[fan-in, out]`. */
export function asMatrix(x: tf.Tensor): tf.Tensor2D {
  return x.rank === 2 ? (x as tf.Tensor2D) : tf.reshape(x, [-1, lastAxis(x.shape)]);
}

/** A matrix whose rows are those of a tensor of the given shape, with the axes that this has. */
export function fromMatrix(rows: tf.Tensor2D, shape: readonly number[]): tf.Tensor {
  return shape.length === 2 ? rows : tf.reshape(rows, [...shape.slice(0, -1), lastAxis(rows.shape)]);
}

/** `s·B`, or `s` times its gradient: scaling what is of the size of a factor costs next to nothing. */
export function scaled(b: tf.Tensor, scaling: number): tf.Tensor2D {
  return (scaling === 1 ? b : tf.mul(b, scaling)) as tf.Tensor2D;
}

/** The length of the last axis. */
export function lastAxis(shape: readonly number[]): number {
  return shape[shape.length - 1] ?? 1;
}
