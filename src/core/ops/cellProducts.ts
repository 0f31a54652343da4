import * as tf from '@tensorflow/tfjs';
import {denseOp, linear} from './linear';
import {type Factors, lastAxis, type Linear, scaled, updatedKernel} from './factors';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {unrecorded} from './recording';

/** The product of `[n, in]` with some columns of a kernel `[in, out]`. */
export type CellProduct = (x: tf.Tensor, columnGroup: number) => tf.Tensor;

/**
 * Products with a frozen kernel, without a gradient for it.
 *
 * @param widths of the parts, which together are all columns.
 */
export function frozenProducts(kernel: tf.Tensor, widths: readonly number[] = [lastAxis(kernel.shape)]): CellProduct {
  return (x, columnGroup) => {
    const op = widths.length === 1 ? denseOp : columns(startOf(widths, columnGroup), widths[columnGroup] ?? 0);
    return linear(op, x, {kernel, bias: null}, LINEAR);
  };
}

/**
 * Products with `W + s·A·B` for the time steps of one pass over a sequence, differentiable in `A`, `B` and `W`; with
 * `W` itself, if it may train, without factors. The kernel is merged once for all of them.
 */
export function adaptedProducts(
  kernel: tf.Tensor,
  factors: Factors | null,
  widths: readonly number[] = [lastAxis(kernel.shape)],
): CellProduct {
  const cut = (matrix: tf.Tensor) => (widths.length === 1 ? [matrix] : tf.split(matrix, [...widths], 1));
  // On the tape, the steps do not depend on this tensor.
  const merged = unrecorded(() => cut(factors === null ? tf.clone(kernel) : updatedKernel(kernel, factors)));
  const kernels = cut(kernel);
  const bs = factors === null ? [] : cut(scaled(factors.b, factors.scaling));
  const products = merged.map((w, i) =>
    adaptedProduct(w, kernels[i] as tf.Tensor, factors && {a: factors.a, b: bs[i] as tf.Tensor}),
  );
  return (x, columnGroup) => (products[columnGroup] as (x: tf.Tensor) => tf.Tensor)(x);
}

/** The sum of two products, the second with a masked input: `x·W + (x ⊙ m)·V`. */
export function masked(product: CellProduct, mask: tf.Tensor, dropped: CellProduct): CellProduct {
  return (x, columnGroup) => tf.add(product(x, columnGroup), dropped(tf.mul(x, mask), columnGroup));
}

/** The trace of a step in the backward pass. */
interface Trace {
  x: tf.Tensor;
  /** The gradient of `x·W`. */
  dz: tf.Tensor;
}

/**
 * The product with `w = W + A·B`. The steps of the backward pass compute only the gradient of `x` and leave a trace;
 * after all of them, the gradients of the kernel or of its factors come from one product over the rows of all steps:
 *
 *     dA = Xᵀ·(dZ·Bᵀ)    dB = (X·A)ᵀ·dZ    dW = Xᵀ·dZ
 */
function adaptedProduct(
  w: tf.Tensor,
  kernel: tf.Tensor,
  factors: {a: tf.Tensor; b: tf.Tensor} | null,
): (x: tf.Tensor) => tf.Tensor {
  const traces: Trace[] = [];
  // The steps depend on this operation, so its gradient is requested after theirs.
  const pass = runLazyOp({
    inputs: {kernel, ...factors},
    save: {a: factors !== null, b: factors !== null},
    forward: () => tf.scalar(0),
    gradient: (_, saved) => {
      const x = tf.concat(traces.map(trace => trace.x)); // [steps · n, in]
      const dz = tf.concat(traces.map(trace => trace.dz)); // [steps · n, out]
      traces.splice(0).forEach(trace => tf.dispose([trace.x, trace.dz]));
      return {
        a: () => tf.matMul(x, tf.matMul(dz, saved.b, false, true), true), // [in, rows] · ([rows, out] · [out, r])
        b: () => tf.matMul(tf.matMul(x, saved.a), dz, true), // [r, rows] · [rows, out]
        kernel: () => tf.matMul(x, dz, true), // [in, rows] · [rows, out]
      };
    },
  });
  return x =>
    runLazyOp({
      inputs: {x, kernel: w, pass},
      // The merged kernel is disposed after the pass, so the steps keep it.
      save: {x: true, kernel: true},
      forward: () => denseOp.forward(x, w, null, 'linear'),
      gradient: (dz, saved) => ({
        x: () => tf.matMul(dz, saved.kernel, false, true), // [n, out] · [out, in]
        pass: () => {
          // Both are disposed with their step.
          traces.push({x: tf.keep(tf.clone(saved.x)), dz: tf.keep(tf.clone(dz))});
          return tf.scalar(0);
        },
      }),
    });
}

const LINEAR = {fused: 'linear', gradient: null, apply: (x: tf.Tensor) => x} as const;

function startOf(widths: readonly number[], columnGroup: number): number {
  return widths.slice(0, columnGroup).reduce((sum, width) => sum + width, 0);
}

/** The product with some columns of a kernel. The backward pass slices them again, so that no step keeps them. */
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
