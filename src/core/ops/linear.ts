import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch} from '../../backends/shared/capabilities';
import type {LinearCall, SavedProduct} from '../../backends/shared/launches';
import {isRecording, run} from '../../platform/tfjs/engine';
import type {Activation, FusedActivation} from './activation';
import {
  addBias,
  asMatrix,
  factorGradients,
  type Factors,
  fans,
  gained,
  lastAxis,
  type Linear,
  lowRankOf,
  product as multiplied,
  scaled,
  updatedKernel,
} from './factors';
import {learns, runLazyOp} from '../../platform/tfjs/lazyOp';

/**
 * What a linear operation works with. Without `factors` the kernel is frozen, and has no gradient, unless `trains` says
 * otherwise. The tensors of an update may be computed from others: the tape keeps what the backward pass needs of them.
 */
export interface LinearWeights extends LinearCall {
  /** `[...fan-in axes, out]`. */
  readonly kernel: tf.Tensor;
  /**
   * Whether the kernel may train where there are no factors: an updated one, in place of the layer's own. Default:
   * false.
   */
  readonly trains?: boolean | undefined;
  /** `[out]`. */
  readonly bias: tf.Tensor | null;
  /** Add the bias by itself where no activation is fused, as some stock layers do; elsewhere the fused call adds it. */
  readonly biasApart: boolean;
  /** A low-rank update `s·A·B` of the kernel. */
  readonly factors?: Factors | null | undefined;
  /** `[out]`: what each output is multiplied with before the bias is added. */
  readonly gain?: tf.Tensor | null | undefined;
  /** The input after dropout: what the factors work on in place of the input. Not together with a gain. */
  readonly dropped?: tf.Tensor | undefined;
  /** Only for a layer without an activation. */
  readonly defer?: LinearCall['defer'];
}

/** How an update is computed, and what it keeps of the forward pass. */
interface Form {
  /** `x ∗ W + (x ∗ A)·(s·B)` instead of `x ∗ (W + s·A·B)`. */
  branches: boolean;
  /** Whether the gradients of `A` and `B` come from the kernel's. */
  viaKernel: boolean;
  /** Whether the backward pass needs the input; if not, `h = x ∗ A` is enough. */
  keepsInput: boolean;
  keepsH: boolean;
  /** Whether the outputs are multiplied with the gain. If not, the kernel is, and `B`. */
  scalesOutputs: boolean;
  /** Whether the gain's gradient comes from the kernel's, since the outputs before the gain are never made. */
  gainViaKernel: boolean;
  /** Whether the factors work on another input than the kernel. */
  drops: boolean;
}

/**
 * `f(g ⊙ (x ∗ (W + s·A·B)) + b)`, differentiable in `x`, `A`, `B`, `g`, `W` and `b`. What no gradient will need is not
 * kept.
 *
 * It has two forms. `x ∗ W + (x ∗ A)·(s·B)` leaves the kernel alone and works on the outputs; `x ∗ (W + s·A·B)` works
 * on the kernel and leaves the outputs alone. The cheaper one is used, by comparing the rows of the output with the
 * fan-in. Both give `f(x ∗ W + b)` bit for bit where `B` is zero. A gain of ones does too, unless its gradient is
 * recorded.
 */
export function linear(op: Linear, x: tf.Tensor, weights: LinearWeights, activation: Activation): tf.Tensor {
  const {kernel, bias, factors = null, gain = null, dropped, trains = false} = weights;
  const form = formOf(x.shape, weights);
  const {scaling = 1} = factors ?? {};
  const recorded = op.isByRow
    ? capabilities().adaptedProduct?.recorded(x, weights, {
        activation,
        composed: (dz, saved) => gradients(op, dz, saved, x.shape, {form: {...form, keepsInput: true}, scaling}),
      })
    : undefined;
  if (recorded !== undefined) {
    return recorded;
  }
  const outputs = runLazyOp({
    inputs: {
      x,
      kernel,
      ...(bias && {bias}),
      ...(factors && {a: factors.a, b: factors.b}),
      ...(gain && {gain}),
      ...(dropped && {dropped}),
    },
    save: {
      x: dropped === undefined ? form.keepsInput : learns(kernel),
      dropped: dropped !== undefined && form.keepsInput,
      kernel: true,
      a: factors !== null,
      b: factors !== null,
      gain: gain !== null,
      y: activation.gradient !== null,
      h: form.keepsH,
      z: form.scalesOutputs,
    },
    forward: () => forward(op, x, weights, form, activation),
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const dz = activation.gradient === null ? dy : activation.gradient(dy, saved.y);
      if (factors !== null && form.gainViaKernel) {
        return {bias: () => tf.sum(asMatrix(dz), 0), ...throughKernel(op, dz, saved, x.shape, scaling)};
      }
      const dp = gain === null ? dz : gained(dz, saved.gain); // the gradient of x ∗ (W + s·A·B)
      return {
        bias: () => tf.sum(asMatrix(dz), 0),
        ...(form.scalesOutputs && {gain: () => tf.sum(asMatrix(tf.mul(dz, saved.z)), 0)}),
        ...(factors === null
          ? {
              x: () => op.inputGradient(dp, saved.kernel, x.shape),
              ...(trains && {kernel: () => op.kernelGradient(saved.x, dp, kernel.shape)}),
            }
          : gradients(op, dp, saved, x.shape, {form, scaling})),
      };
    },
  });
  const [y, ...others] = [outputs].flat() as [tf.Tensor, ...tf.Tensor[]];
  others.forEach(other => other.dispose());
  return y;
}

function formOf(
  inputShape: readonly number[],
  {kernel, factors = null, gain = null, dropped, trains = false, defer}: LinearWeights,
): Form {
  const gainLearns = gain !== null && learns(gain) && isRecording();
  if (factors === null) {
    const none = {branches: false, viaKernel: false, keepsH: false, gainViaKernel: false, drops: false};
    return {...none, keepsInput: trains, scalesOutputs: gainLearns};
  }
  const {a, b} = factors;
  // With so few outputs the kernel is hardly larger than the factors.
  const narrow = lastAxis(b.shape) <= 2 * lastAxis(a.shape);
  const rows = tf.util.sizeFromShape([...inputShape.slice(0, -1)]); // strides aside, an output has as many as the input
  const {fanIn, fanOut} = fans([...a.shape.slice(0, -1), lastAxis(b.shape)]);
  const branches = dropped !== undefined || rows <= (narrow ? Math.min(fanIn, fanOut) : fanIn);
  // A deferred convolution never makes its outputs. With a kernel of size 1, the kernel's gradient is cheaper than
  // making them.
  const gainViaKernel = gainLearns && !branches && defer !== undefined && fanIn === a.shape[a.rank - 2];
  const keepsInput = learns(a) || learns(kernel) || gainViaKernel;
  return {
    branches,
    // The whole kernel's gradient then costs no more than two products of the rank's width.
    viaKernel: (narrow && keepsInput && dropped === undefined) || gainViaKernel,
    keepsInput,
    keepsH: branches || !keepsInput,
    scalesOutputs: gainLearns && !gainViaKernel,
    gainViaKernel,
    drops: dropped !== undefined,
  };
}

/** The result, and after it what is kept: `h = x ∗ A`, and the outputs before the gain. */
function forward(
  op: Linear,
  x: tf.Tensor,
  {kernel, bias, biasApart, factors = null, gain = null, dropped = x, defer}: LinearWeights,
  {branches, keepsH, scalesOutputs}: Form,
  {apply, fused}: Activation,
): tf.Tensor[] {
  const folded = (w: tf.Tensor) => (gain === null || scalesOutputs ? w : gained(w, gain));
  const w = folded(branches ? kernel : updatedKernel(kernel, factors));
  const h = factors !== null && keepsH ? [lowRankOf(op).project(dropped, factors.a)] : [];
  /** `f(x ∗ W)`, with the bias before the activation. */
  const product = (added: tf.Tensor | null, activation: FusedActivation | null) =>
    biasApart && activation === null && added !== null
      ? spending(op.forward(x, w, null, 'linear'), y => addBias(y, added))
      : op.forward(x, w, added, activation ?? 'linear');
  const withBranch = (y: tf.Tensor) =>
    branches && factors !== null
      ? plusProduct(y, {...factors, a: h[0] as tf.Tensor, b: folded(factors.b)}, b =>
          lowRankOf(op).expand(h[0] as tf.Tensor, b),
        )
      : y;
  if (scalesOutputs && gain !== null) {
    const z = withBranch(product(null, 'linear'));
    const y = gained(z, gain);
    return [apply(bias === null ? y : spending(y, () => addBias(y, bias))), ...h, z];
  }
  if (!branches) {
    const atOnce = () => (fused === null ? apply(product(bias, null)) : product(bias, fused));
    return [defer?.(x, w, bias) ?? atOnce(), ...h];
  }
  return [apply(withBranch(product(bias, fused === null ? null : 'linear'))), ...h];
}

/** `y + s·h·B`; disposes `y`. `expand` returns `h·(s·B)`, for backends that have no launch for all of it. */
function plusProduct(y: tf.Tensor, {a: h, b, scaling}: Factors, expand: (b: tf.Tensor) => tf.Tensor): tf.Tensor {
  return spending(
    y,
    () => oneLaunch()?.addProduct?.(y, h, b, scaling, false) ?? spending(expand(scaled(b, scaling)), z => tf.add(y, z)),
  );
}

/**
 * What `f` returns for a tensor, which is then disposed: its memory is still in the cache, and the next result can use
 * it.
 */
function spending(x: tf.Tensor, f: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  const y = f(x);
  x.dispose();
  return y;
}

function gradients(
  op: Linear,
  dp: tf.Tensor,
  {x, dropped, kernel, a, b, h}: SavedProduct & {dropped?: tf.Tensor; h?: tf.Tensor},
  inputShape: number[],
  {form, scaling}: {form: Form; scaling: number},
): Record<string, () => tf.Tensor> {
  const branch = lowRankOf(op);
  const collect = () => branch.collect(dp, scaled(b, scaling));
  const ofKernel = () => op.kernelGradient(x, dp, kernel.shape);
  const ofBoth = (dx: tf.Tensor, dh: tf.Tensor) => {
    // dh·Aᵀ, where each row of the input has one of the output
    const [width, rank] = [lastAxis(dx.shape), lastAxis(dh.shape)];
    const isProduct = a.size === width * rank && dx.size * rank === dh.size * width;
    const added = isProduct ? oneLaunch()?.addProduct?.(dx, dh, a, 1, true) : undefined;
    return spending(dx, () => added ?? spending(branch.inputGradient(dh, a, inputShape), z => tf.add(dx, z)));
  };
  const direct = (dh: () => tf.Tensor) => ({
    ...(form.keepsInput && {kernel: ofKernel}),
    ...(form.drops
      ? {
          x: () => op.inputGradient(dp, kernel, inputShape),
          dropped: () => branch.inputGradient(dh(), a, inputShape),
        }
      : {
          x: () =>
            form.branches
              ? ofBoth(op.inputGradient(dp, kernel, inputShape), dh())
              : op.inputGradient(dp, updatedKernel(kernel, {a, b, scaling}), inputShape),
        }),
  });
  if (form.viaKernel) {
    return {...direct(collect), ...factorGradients(ofKernel(), {a, b, scaling})};
  }
  const ofB = () => scaled(branch.gradientOfB(h ?? branch.project(x, a), dp), scaling);
  if (!form.keepsInput) {
    return {...direct(collect), b: ofB};
  }
  const dh = collect();
  return {...direct(() => dh), a: () => branch.gradientOfA(dropped ?? x, dh, a.shape), b: ofB};
}

/**
 * The gradients of `x ∗ (g ⊙ V)`, `V = W + s·A·B`, where rows outnumber the fan-in: all but that of `x` come from the
 * kernel's.
 */
function throughKernel(
  op: Linear,
  dz: tf.Tensor,
  {x, kernel, a, b, gain}: SavedProduct & {gain: tf.Tensor},
  inputShape: number[],
  scaling: number,
): Record<string, () => tf.Tensor> {
  const v = updatedKernel(kernel, {a, b, scaling});
  const dw = op.kernelGradient(x, dz, kernel.shape);
  const dv = gained(dw, gain);
  return {
    x: () => op.inputGradient(dz, gained(v, gain), inputShape),
    gain: () => tf.sum(asMatrix(tf.mul(dw, v)), 0),
    kernel: () => tf.clone(dv),
    ...factorGradients(dv, {a, b, scaling}),
  };
}

/** The product `x·W`: `[n, in] · [in, out] → [n, out]`. */
export const denseOp: Linear = {
  isProduct: true,
  isByRow: true,
  forward: (x, kernel, bias, activation) => fusedMatMul(x as tf.Tensor2D, kernel as tf.Tensor2D, bias, activation),
  inputGradient: (dz, kernel) => multiplied(dz, kernel, false, true), // [n, out] · [out, in]
  kernelGradient: (x, dz) => multiplied(x, dz, true), // [in, n] · [n, out]
};

/** `activation(x·W + b)`: `[n, in] · [in, out] → [n, out]`. */
function fusedMatMul(
  x: tf.Tensor2D,
  kernel: tf.Tensor2D,
  bias: tf.Tensor | null,
  activation: FusedActivation,
): tf.Tensor2D {
  const multiply = (a: tf.Tensor, b: tf.Tensor) =>
    run(
      ...([tf._FusedMatMul, {a, b, ...(bias && {bias})}, {transposeA: false, transposeB: false, activation}] as const),
    );
  if (capabilities().launchesOperations) {
    return multiply(x, kernel) as tf.Tensor2D;
  }
  return tf.tidy(() => {
    const y = multiply(tf.reshape(x, [1, ...x.shape]), tf.reshape(kernel, [1, ...kernel.shape]));
    return tf.reshape(y, [x.shape[0], kernel.shape[1]]);
  });
}
