import type * as tf from '@tensorflow/tfjs';
import type {FusedActivation} from './kernels';
import type {Prepared} from './prepared';

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
