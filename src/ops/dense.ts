import * as tf from '@tensorflow/tfjs';
import {fusedMatMul} from './kernels';
import type {Linear} from './linear';

/** The product `x·W`: `[n, in] · [in, out] → [n, out]`. */
export const denseOp: Linear = {
  forward: (x, kernel, bias, activation) => fusedMatMul(x as tf.Tensor2D, kernel as tf.Tensor2D, bias, activation),
  inputGradient: (dz, kernel) => tf.matMul(dz, kernel, false, true), // [n, out] · [out, in]
  kernelGradient: (x, dz) => tf.matMul(x, dz, true, false), // [in, n] · [n, out]
};
