import * as tf from '@tensorflow/tfjs';

/** Operations in one launch each. Where a backend has none, or not this one, it gives `undefined`. */
export interface OneLaunch {
  /** `c + scale·a·b`, for a rank of few numbers: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`. */
  addProduct(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor | undefined;
  /** `x·m + t` or `x·m` along the last axis. */
  affine(x: tf.Tensor, m: tf.Tensor, t: tf.Tensor | undefined): tf.Tensor | undefined;
  /** The gradient of an activation from its output, by the name of a kernel. */
  activationGradient(name: string, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
  /** Whether there are such operations on the current backend. */
  isHere(): boolean;
}

let supplied: OneLaunch | undefined;

/** Supplies them for all backends that have any. */
export function supplyOneLaunch(operations: OneLaunch): void {
  supplied = operations;
}

/** Those of the current backend. They leave nothing on the tape: where every operation is recorded there are none. */
export function oneLaunch(): OneLaunch | undefined {
  const {gradientDepth, kernelDepth} = tf.engine().state;
  const isTaped = gradientDepth > 0 && kernelDepth === 0;
  return isTaped ? undefined : supplied;
}
