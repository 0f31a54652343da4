import * as tf from '@tensorflow/tfjs';

/** The factors of a low-rank update `s·A·B` of a kernel `[...fan-in axes, ...out axes]`; most kernels have one out axis. */
export interface Factors {
  /** `[...fan-in axes, rank]`. */
  a: tf.Tensor;
  /** `[rank, ...out axes]`. */
  b: tf.Tensor;
  /** The factor `s`. */
  scaling: number;
}

/** Shapes of `A` and `B` for a kernel `[...fan-in axes, ...out axes]`. */
export function factorShapes(kernelShape: readonly number[], rank: number, outAxes = 1): {a: number[]; b: number[]} {
  return {a: [...kernelShape.slice(0, -outAxes), rank], b: [rank, ...kernelShape.slice(-outAxes)]};
}

/** How many numbers one output is computed from, and how many outputs there are, for a kernel `[...fan-in axes, ...out axes]`. */
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
    const product = tf.matMul(asMatrix(a), tf.reshape(scaled(b, scaling), [rank, -1])); // [fan-in, r] · [r, out] → [fan-in, out]
    return tf.reshape(product, [...a.shape.slice(0, -1), ...out]);
  });
}

/** `W + s·A·B`. Where `B` is zero this is `W`, bit for bit. */
export function updatedKernel(kernel: tf.Tensor, factors: Factors): tf.Tensor {
  return tf.tidy(() => tf.add(kernel, delta(factors)));
}

/** A tensor with all axes but the last joined: pixels as rows, or a kernel as `[fan-in, out]`. */
export function asMatrix(x: tf.Tensor): tf.Tensor2D {
  return tf.reshape(x, [-1, lastAxis(x.shape)]);
}

/** `s·B`: scaling the small factor costs next to nothing, scaling what it is multiplied with does not. */
export function scaled(b: tf.Tensor, scaling: number): tf.Tensor2D {
  return (scaling === 1 ? b : tf.mul(b, scaling)) as tf.Tensor2D;
}

/** The length of the last axis. */
export function lastAxis(shape: readonly number[]): number {
  return shape[shape.length - 1] ?? 1;
}
