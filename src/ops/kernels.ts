import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch, type OutputActivationName} from '../kernels/capabilities';

// tfjs calls its fused kernels only while no gradient is recorded, and its backward kernels have no public function. An
// operation with a gradient of its own can call both directly: in training it computes what stock layers compute in
// `predict`, to the last bit.

/** Activations that the fused kernels of every backend know. */
export type FusedActivation = 'linear' | 'relu' | 'elu' | 'relu6';

/** `activation(x·W + b)`: `[n, in] · [in, out] → [n, out]`. */
export function fusedMatMul(
  x: tf.Tensor2D,
  kernel: tf.Tensor2D,
  bias: tf.Tensor | null,
  activation: FusedActivation,
): tf.Tensor2D {
  const multiply = (a: tf.Tensor, b: tf.Tensor) =>
    run(
      tf._FusedMatMul,
      {a, b, ...(bias && {bias})},
      {
        transposeA: false,
        transposeB: false,
        activation,
      },
    );
  if (capabilities().launchesOperations) {
    return multiply(x, kernel) as tf.Tensor2D;
  }
  return tf.tidy(() => {
    const y = multiply(tf.reshape(x, [1, ...x.shape]), tf.reshape(kernel, [1, ...kernel.shape]));
    return tf.reshape(y, [x.shape[0], kernel.shape[1]]);
  });
}

/**
 * `op(a)·op(b)` of two matrices by the fastest kernel. The last bits may differ from those of a stock layer's product.
 */
export function product(a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor2D {
  const byBackend = capabilities().matrixProduct?.(a, b, transposeA, transposeB) as tf.Tensor2D | undefined;
  return byBackend ?? tf.matMul<tf.Tensor2D>(a, b, transposeA, transposeB);
}

/** The gradient of elu, from its output. */
export function eluGradient(dy: tf.Tensor, y: tf.Tensor): tf.Tensor {
  return run(tf.EluGrad, {dy, y}, {});
}

/** The gradient of an activation from its output: in one launch, or `composed` where the backend has none. */
export function activationGradient(
  name: OutputActivationName,
  composed: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor,
): (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor {
  return (dy, y) => oneLaunch()?.activationGradient?.(name, dy, y) ?? composed(dy, y);
}

/** Launches a kernel that has no public function. */
export function run(kernel: string, inputs: Record<string, tf.Tensor>, attributes: object): tf.Tensor {
  return tf.engine().runKernel(kernel, inputs, attributes as tf.NamedAttrMap);
}
