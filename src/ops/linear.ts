import * as tf from '@tensorflow/tfjs';
import type {Activation} from './activation';
import {addBias, asMatrix, factorGradients, type Factors, fans, lastAxis, scaled, updatedKernel} from './factors';
import type {FusedActivation} from './kernels';
import {runLazyOp, type Saved} from './lazyOp';
import type {Linear} from './linearOp';
import {lowRankOf} from './lowRank';
import type {Prepared} from './prepared';

/** What a linear operation works with. The backward pass uses the tensors too, so they have to live that long, as variables do. */
export interface LinearWeights {
  /** `[...fan-in axes, out]`. */
  kernel: tf.Tensor;
  /** `[out]`. */
  bias: tf.Tensor | null;
  /** Add the bias by itself where no activation is fused, as some stock layers do; elsewhere the fused call adds it. */
  biasApart: boolean;
  /** The low-rank update, or `null` for a frozen operation, which is differentiable in `x` and `b` alone and keeps no input. */
  factors: Factors | null;
  /** Where a frozen operation may keep what depends on its kernel alone. */
  prepared?: Prepared;
  /** Puts `x ∗ W + b` off, to be computed with what follows, if it can be. Only for a layer without an activation. */
  defer?: ((x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | null) => tf.Tensor | undefined) | undefined;
}

/**
 * `f(x ∗ (W + s·A·B) + b)`, differentiable in whatever of `x`, `A`, `B`, `W` and `b` is asked for, and keeping only what that takes.
 *
 * It has two forms. `x ∗ W + (x ∗ A)·(s·B)` leaves the kernel alone and works on the outputs; `x ∗ (W + s·A·B)` works on the kernel and
 * leaves the outputs alone. The smaller of the two counts: rows of the output against the fan-in. Both give `f(x ∗ W + b)` bit for bit
 * where `B` is zero.
 */
export function linear(op: Linear, x: tf.Tensor, weights: LinearWeights, activation: Activation): tf.Tensor {
  const {kernel, bias, factors, prepared} = weights;
  const branches = factors !== null && !mergesKernel(x.shape, factors);
  const outputs = runLazyOp({
    inputs: {x, ...(bias && {bias}), ...(factors && {a: factors.a, b: factors.b, kernel})},
    save: {x: factors !== null, y: activation.gradient !== null, h: branches},
    forward: () => (branches ? branched(op, x, weights, factors, activation) : merged(op, x, weights, activation)),
    gradient: (dy, saved) => {
      const dz = activation.gradient === null ? dy : activation.gradient(dy, saved.y);
      return factors === null
        ? {x: () => op.inputGradient(dz, kernel, x.shape, prepared), bias: () => tf.sum(asMatrix(dz), 0)}
        : gradients(op, dz, saved, x.shape, {kernel, factors, prepared});
    },
  });
  const [y, h] = [outputs].flat() as [tf.Tensor, tf.Tensor | undefined];
  h?.dispose();
  return y;
}

/** `f(x ∗ (W + s·A·B) + b)`, without factors `f(x ∗ W + b)`. */
function merged(op: Linear, x: tf.Tensor, weights: LinearWeights, activation: Activation): tf.Tensor {
  const {kernel, bias, factors, defer} = weights;
  const w = factors === null ? kernel : updatedKernel(kernel, factors);
  const deferred = defer?.(x, w, bias);
  if (deferred !== undefined) {
    return deferred;
  }
  return activation.fused === null
    ? activation.apply(biased(op, x, w, weights, null))
    : biased(op, x, w, weights, activation.fused);
}

/** `f(x ∗ W + b + h·(s·B))` and `h = x ∗ A`. */
function branched(
  op: Linear,
  x: tf.Tensor,
  weights: LinearWeights,
  {a, b, scaling}: Factors,
  {apply, fused}: Activation,
): [y: tf.Tensor, h: tf.Tensor] {
  const branch = lowRankOf(op);
  const h = branch.project(x, a);
  const z = biased(op, x, weights.kernel, weights, fused === null ? null : 'linear');
  return [apply(sumOf(z, branch.expand(h, scaled(b, scaling)))), h];
}

/** `f(x ∗ W + b)` for an activation that is fused; where the layer fuses none, `null`, the bias may be added apart. */
function biased(
  op: Linear,
  x: tf.Tensor,
  kernel: tf.Tensor,
  {bias, biasApart}: LinearWeights,
  fused: FusedActivation | null,
): tf.Tensor {
  return biasApart && fused === null && bias !== null
    ? spending(op.forward(x, kernel, null, 'linear'), product => addBias(product, bias))
    : op.forward(x, kernel, bias, fused ?? 'linear');
}

/** `a + b` of two tensors that are of no further use. */
function sumOf(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return spending(a, () => spending(b, () => tf.add(a, b)));
}

/** What `f` makes of a tensor that is then of no further use. Its memory is still in the cache, and the next result can take its place. */
function spending(x: tf.Tensor, f: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  const y = f(x);
  x.dispose();
  return y;
}

function gradients(
  op: Linear,
  dz: tf.Tensor,
  {x, h}: Saved,
  inputShape: number[],
  {kernel, factors, prepared}: {kernel: tf.Tensor; factors: Factors; prepared: Prepared | undefined},
): Record<string, () => tf.Tensor> {
  const {a, b, scaling} = factors;
  const branch = lowRankOf(op);
  const collect = () => branch.collect(dz, scaled(b, scaling));
  const kernelGradient = () => op.kernelGradient(x, dz, kernel.shape);
  const direct = (dh: () => tf.Tensor) => ({
    kernel: kernelGradient,
    bias: () => tf.sum(asMatrix(dz), 0),
    x: () =>
      mergesKernel(inputShape, factors)
        ? op.inputGradient(dz, updatedKernel(kernel, factors), inputShape)
        : sumOf(op.inputGradient(dz, kernel, inputShape, prepared), branch.inputGradient(dh(), a, inputShape)),
  });
  if (isNarrow(factors)) {
    // The whole kernel's gradient costs no more than the two products of the rank's width below.
    return {...direct(collect), ...factorGradients(kernelGradient(), factors)};
  }
  const dh = collect();
  return {
    ...direct(() => dh),
    a: () => branch.gradientOfA(x, dh, a.shape),
    b: () => scaled(branch.gradientOfB(h ?? branch.project(x, a), dz), scaling),
  };
}

/**
 * Whether updating the kernel is less work than updating the outputs. Strides aside, an output has as many rows as the input.
 */
function mergesKernel(inputShape: readonly number[], factors: Factors): boolean {
  const rows = tf.util.sizeFromShape(inputShape.slice(0, -1));
  const {fanIn, fanOut} = fans([...factors.a.shape.slice(0, -1), lastAxis(factors.b.shape)]);
  return rows > (isNarrow(factors) ? Math.min(fanIn, fanOut) : fanIn);
}

/** Whether there are so few outputs that the kernel is hardly larger than the factors. */
function isNarrow({a, b}: Factors): boolean {
  return lastAxis(b.shape) <= 2 * lastAxis(a.shape);
}
