import type * as tf from '@tensorflow/tfjs';
import {fusedMatMul, product} from './kernels';
import type {Linear} from './linear';

/** The product `x·W`: `[n, in] · [in, out] → [n, out]`. */
export const denseOp: Linear = {
  forward: (x, kernel, bias, activation) => fusedMatMul(x as tf.Tensor2D, kernel as tf.Tensor2D, bias, activation),
  project: (x, a) => product(x as tf.Tensor2D, a as tf.Tensor2D), // [n, in] · [in, r]
  inputGradient: (dz, kernel) => product(dz as tf.Tensor2D, kernel as tf.Tensor2D, false, true), // [n, out] · [out, in]
  kernelGradient: (x, dz) => product(x as tf.Tensor2D, dz as tf.Tensor2D, true), // [in, n] · [n, out]
};
