import * as tf from '@tensorflow/tfjs';

// What operations ask of the current backend. The files that know the backends supply or register the answers.

/** The name of a kernel for the product of two matrices, each of them transposed or not. */
export const MATRIX_PRODUCT = 'MatMul';

/** The name of a kernel `{dy, y} → dy · f'(x)` given `y = f(x)`, for tensors of dtype float32. */
export type ActivationGradient = 'ReluGrad' | 'Relu6Grad' | 'SigmoidGrad' | 'TanhGrad';

/**
 * Whether TensorFlow computes on the current backend. To launch an operation takes longer there than to compute a small one, a reshape
 * counts as one, and products take matrices as they are.
 */
export function launchesOperations(): boolean {
  return tf.getBackend() === 'tensorflow';
}

/** Operations in one launch each. They return `undefined` where the backend does not have them. */
export interface OneLaunch {
  /** `c + scale·a·b`, for a rank of few numbers: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`. */
  addProduct(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor | undefined;
  /** `x·m + t` or `x·m` along the last axis. */
  affine(x: tf.Tensor, m: tf.Tensor, t: tf.Tensor | undefined): tf.Tensor | undefined;
  /** The gradient of an activation from its output. */
  activationGradient(name: ActivationGradient, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
  /** Whether there are such operations on the current backend. */
  isHere(): boolean;
}

let supplied: OneLaunch | undefined;

/** Supplies them for all backends that have any. */
export function supplyOneLaunch(operations: OneLaunch): void {
  supplied = operations;
}

/** Those of the current backend. The tape does not record them, so there are none while it records every operation. */
export function oneLaunch(): OneLaunch | undefined {
  return tf.engine().isTapeOn() ? undefined : supplied;
}
