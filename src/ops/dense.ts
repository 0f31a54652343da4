import type * as tf from '@tensorflow/tfjs';
import {fusedMatMul, product} from './kernels';
import type {Linear} from './lowRank';

/** The product `x·W`: `[n, in] · [in, out] → [n, out]`. */
export const denseOp: Linear = {
  isProduct: true,
  forward: (x, kernel, bias, activation) => fusedMatMul(x as tf.Tensor2D, kernel as tf.Tensor2D, bias, activation),
  inputGradient: (dz, kernel) => product(dz, kernel, false, true), // [n, out] · [out, in]
  kernelGradient: (x, dz) => product(x, dz, true), // [in, n] · [n, out]
};
