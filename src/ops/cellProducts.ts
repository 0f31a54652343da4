import * as tf from '@tensorflow/tfjs';
import {denseOp} from './dense';
import {type Factors, lastAxis, scaled, updatedKernel} from './factors';
import {runLazyOp} from './lazyOp';
import {linear, type Linear} from './linear';
import {unrecorded} from './recording';

/** The product of `[n, in]` with a part of a kernel `[in, out]`, some of its columns. */
export type CellProduct = (x: tf.Tensor, part: number) => tf.Tensor;

/**
 * Products with a kernel that is frozen, without a gradient for it.
 *
 * @param widths of the parts, which are all of the columns.
 */
export function frozenProducts(kernel: tf.Tensor, widths: readonly number[] = [lastAxis(kernel.shape)]): CellProduct {
  return (x, part) => {
    const op = widths.length === 1 ? denseOp : columns(startOf(widths, part), widths[part] ?? 0);
    return linear(op, x, {kernel, bias: null, biasApart: false, factors: null}, LINEAR);
  };
}

/**
 * Products with `W + s·A·B`, for all time steps of one pass over a sequence, differentiable in `A`, `B` and `W`. The kernel is merged once;
 * the backward pass has no gradient of the size of the kernel, unless that of `W` is asked for:
 *
 *     dA = xᵀ·(dz·(s·B)ᵀ)    d(s·B) = (x·A)ᵀ·dz
 */
export function adaptedProducts(
  kernel: tf.Tensor,
  {a, b, scaling}: Factors,
  widths: readonly number[] = [lastAxis(kernel.shape)],
): CellProduct {
  const cut = (matrix: tf.Tensor) => (widths.length === 1 ? [matrix] : tf.split(matrix, [...widths], 1));
  const merged = unrecorded(() => cut(updatedKernel(kernel, {a, b, scaling})));
  const kernels = cut(kernel);
  const factors = cut(scaled(b, scaling));
  return (x, part) =>
    runLazyOp({
      inputs: {
        x,
        a,
        w: merged[part] as tf.Tensor,
        b: factors[part] as tf.Tensor,
        kernel: kernels[part] as tf.Tensor,
      },
      // The parts end with the pass, so each step keeps those that it needs.
      save: {x: true, w: true, b: true},
      forward: () => denseOp.forward(x, merged[part] as tf.Tensor, null, 'linear'),
      gradient: (dz, saved) => ({
        x: () => tf.matMul(dz, saved.w, false, true), // [n, out] · [out, in]
        a: () => tf.matMul(saved.x, tf.matMul(dz, saved.b, false, true), true), // [in, n] · ([n, out] · [out, r])
        b: () => tf.matMul(tf.matMul(saved.x, a), dz, true), // [r, n] · [n, out]
        kernel: () => tf.matMul(saved.x, dz, true), // [in, n] · [n, out]
      }),
    });
}

const LINEAR = {fused: 'linear', gradient: null, apply: (x: tf.Tensor) => x} as const;

function startOf(widths: readonly number[], part: number): number {
  return widths.slice(0, part).reduce((sum, width) => sum + width, 0);
}

/**
 * The product with some columns of a kernel. They are cut out anew in the backward pass: a piece that outlived the step would have to be
 * kept for each of them.
 */
function columns(start: number, width: number): Linear {
  const cut = (kernel: tf.Tensor) => tf.slice(kernel, [0, start], [-1, width]);
  return {
    forward: (x, kernel, bias, activation) => denseOp.forward(x, cut(kernel), bias, activation),
    inputGradient: (dz, kernel, inputShape) => denseOp.inputGradient(dz, cut(kernel), inputShape),
    kernelGradient: (x, dz, kernelShape) => {
      const after = lastAxis(kernelShape) - start - width;
      return tf.pad(denseOp.kernelGradient(x, dz, kernelShape), [
        [0, 0],
        [start, after],
      ]);
    },
  };
}
