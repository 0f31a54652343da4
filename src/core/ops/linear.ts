import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch} from '../../backends/shared/capabilities';
import type {Defer, LinearCall, SavedProduct} from '../../backends/shared/launches';
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
  product,
  scaled,
  updatedKernel,
} from './factors';
import {learns, runLazyOp} from '../../platform/tfjs/lazyOp';

/**
 * How the stock layer makes its call. A layer computes the bits of its stock layer only if it makes the same one; the
 * defaults are right for an operation without a bias and an activation.
 */
export interface StockCall {
  /**
   * Whether the bias is added in a separate step where no activation is fused. Every layer with a bias does so except
   * `Conv2D`, whose call always takes the bias. Default: false.
   */
  readonly separateBias?: boolean;
  /**
   * The activations that are fused with the call: those of tfjs in `Dense` and `Conv2D`; relu6 too in the `FusedConv2D`
   * of imported graphs and in `FusedDepthwiseConv2D`. Default: none.
   */
  readonly fuses?: 'stock' | 'relu6 too';
  /** Computes the call later, with the normalization and relu after it: `Conv2D` and `DepthwiseConv2D` in training. */
  readonly defer?: Deferral | undefined;
}

export interface Deferral extends Defer {
  /** The form that is cheaper than `updateKernel` if a gain trains and the kernel has size 1. */
  readonly gainedForm: (call: Call, factors: Factors, gain: tf.Tensor) => Form;
}

/**
 * The inputs of a linear operation. Without `factors` the kernel is frozen and has no gradient, unless `trains` says
 * otherwise. An update's tensors may be computed from others: the tape keeps what the backward pass needs of them.
 */
export interface LinearWeights extends LinearCall, Pick<StockCall, 'separateBias' | 'defer'> {
  /** `[...fan-in axes, out]`. */
  readonly kernel: tf.Tensor;
  /** Whether a kernel without factors may train: an updated one in place of the layer's own. Default: false. */
  readonly trains?: boolean | undefined;
  /** `[out]`. */
  readonly bias: tf.Tensor | null;
  /** A low-rank update `s·A·B` of the kernel. */
  readonly factors?: Factors | null | undefined;
  /** `[out]`: the factor of each output before the bias is added. */
  readonly gain?: tf.Tensor | null | undefined;
  /** The input after dropout, for the factors in place of the input. Not together with a gain. */
  readonly dropped?: tf.Tensor | undefined;
  /** Only for a layer without an activation. */
  readonly defer?: Deferral | undefined;
}

/** One way to compute an operation and its gradients. */
export interface Form {
  /** What the backward pass needs besides the weights and the result: `h = x ∗ A`, `p = x ∗ (W + s·A·B)`. */
  readonly saves: Readonly<Partial<Record<'x' | 'dropped' | 'h' | 'p', boolean>>>;
  /** The result, with weights multiplied by a gain, followed by the saved `h` and `p`. */
  forward(ending: BiasAndActivation, gain?: tf.Tensor): tf.Tensor[];
  /** Given the gradient of the sum before the bias. */
  gradients(dz: tf.Tensor, saved: Kept): Gradients;
}

/** The operations after a product. */
interface BiasAndActivation extends Pick<LinearWeights, 'bias' | 'defer'> {
  readonly activation: Pick<Activation, 'apply' | 'fused'>;
}

/** An operation, and whether it is computed in a training step. */
export type Call = LinearWeights & {readonly op: Linear; readonly x: tf.Tensor; readonly inStep: boolean};

type Kept = SavedProduct & Readonly<Record<'gain' | 'p', tf.Tensor> & Partial<Record<'dropped' | 'h', tf.Tensor>>>;

type Gradients = Record<string, () => tf.Tensor>;

/**
 * The plain formula, `y = f(x∗W + s·(x∗A)·B + b)`: the update is added to the outputs, and the kernel stays as it is.
 * `formOf` says when the forms below are cheaper.
 */
function updateOutputs(call: Call, {a, b, scaling}: Factors): Form {
  const {op, x, kernel, dropped, inStep} = call;
  const branch = lowRankOf(op);
  const keepsInput = learns(a) || learns(kernel);
  return {
    saves: {x: dropped ? learns(kernel) : keepsInput, dropped: dropped !== undefined && keepsInput, h: true},
    forward: ({bias, activation: {fused, apply}}, gain) => {
      const h = branch.project(dropped ?? x, a);
      const y = stockProduct(call, times(kernel, gain), bias, fused && 'linear');
      const ofB = times(b, gain);
      const atOnce = addedProduct(y, h, ofB, {scaling, transposed: false, inStep});
      return [apply(plus(y, atOnce, () => branch.expand(h, scaled(ofB, scaling)))), h];
    },
    gradients: (dp, saved) => {
      const {dh, ofWeights} = weightGradients(op, dp, saved, {scaling, keepsInput});
      const throughKernel = () => op.inputGradient(dp, saved.kernel, x.shape);
      const throughA = (d: tf.Tensor) => branch.inputGradient(d, saved.a, x.shape);
      return dropped
        ? {...ofWeights, x: throughKernel, dropped: () => throughA(dh())}
        : {...ofWeights, x: () => plusTransposed(throughKernel(), dh(), saved.a, throughA)};
    },
  };
}

/** The same with the update added to the kernel: `y = f(x∗(W + s·A·B) + b)`. */
function updateKernel(call: Call, factors: Factors): Form {
  const {op, x, kernel} = call;
  const {a, scaling} = factors;
  const keepsInput = learns(a) || learns(kernel);
  return {
    saves: {x: keepsInput, h: !keepsInput},
    forward: (ending, gain) => {
      const w = times(updatedKernel(kernel, factors), gain);
      const h = keepsInput ? [] : [lowRankOf(op).project(x, a)];
      return [stockOutput(call, w, ending), ...h];
    },
    gradients: (dp, saved) => ({
      ...weightGradients(op, dp, saved, {scaling, keepsInput}).ofWeights,
      x: () => op.inputGradient(dp, updatedKernel(saved.kernel, {...saved, scaling}), x.shape),
    }),
  };
}

/** Without an update: `y = f(x∗W + b)`. */
function updateNothing(call: Call): Form {
  const {op, x, kernel, trains = false} = call;
  return {
    saves: {x: trains},
    forward: (ending, gain) => [stockOutput(call, times(kernel, gain), ending)],
    gradients: (dp, saved) => ({
      x: () => op.inputGradient(dp, saved.kernel, x.shape),
      ...(trains && {kernel: () => op.kernelGradient(saved.x, dp, kernel.shape)}),
    }),
  };
}

/** A form with a gain. One that trains multiplies the products, which are kept; any other, the kernel and `B`. */
function withGain(form: Form, gain: tf.Tensor, trains: boolean): Form {
  return {
    saves: {...form.saves, p: trains},
    forward: ending => {
      if (!trains) {
        return form.forward(ending, gain);
      }
      const {bias, activation} = ending;
      const identity = {fused: 'linear', apply: (z: tf.Tensor) => z} as const;
      const [p, ...extraOutputs] = form.forward({bias: null, activation: identity}) as [tf.Tensor];
      const y = gained(p, gain);
      return [activation.apply(bias === null ? y : disposing(y, () => addBias(y, bias))), ...extraOutputs, p];
    },
    gradients: (dz, saved) => ({
      ...(trains && {gain: () => tf.sum(asMatrix(tf.mul(dz, saved.p)), 0)}),
      ...form.gradients(gained(dz, saved.gain), saved),
    }),
  };
}

/**
 * `f(g ⊙ (x ∗ (W + s·A·B)) + b)`, differentiable in `x`, `A`, `B`, `g`, `W` and `b`. Keeps only what a gradient will
 * need. Every form gives `f(x ∗ W + b)` bit for bit if `B` is zero. A gain of ones does too, unless its gradient is
 * recorded.
 */
export function linear(op: Linear, x: tf.Tensor, weights: LinearWeights, activation: Activation): tf.Tensor {
  const {kernel, bias, factors, gain, dropped, defer} = weights;
  const inStep = isRecording();
  const form = formOf({...weights, op, x, inStep});
  if (!inStep) {
    return tf.tidy(() => form.forward({bias, activation, defer})[0] as tf.Tensor);
  }
  const composed = (dz: tf.Tensor, saved: SavedProduct) => form.gradients(dz, saved as Kept);
  const recorded = op.isByRow ? capabilities().adaptedProduct?.recorded(x, weights, {activation, composed}) : undefined;
  if (recorded !== undefined) {
    return recorded;
  }
  const [hasFactors, hasGain] = [!!factors, !!gain];
  const outputs = runLazyOp({
    inputs: {
      x,
      kernel,
      ...(bias && {bias}),
      ...(factors && {a: factors.a, b: factors.b}),
      ...(gain && {gain}),
      ...(dropped && {dropped}),
    },
    save: {...form.saves, kernel: true, a: hasFactors, b: hasFactors, gain: hasGain, y: activation.gradient !== null},
    forward: () => form.forward({bias, activation, defer}),
    gradient: (dy, saved: Kept & {y: tf.Tensor}): Gradients => {
      const dz = activation.gradient === null ? dy : activation.gradient(dy, saved.y);
      return {bias: () => tf.sum(asMatrix(dz), 0), ...form.gradients(dz, saved)};
    },
  });
  const [y, ...extraOutputs] = [outputs].flat() as [tf.Tensor, ...tf.Tensor[]];
  extraOutputs.forEach(other => other.dispose());
  return y;
}

/** The cheapest form, by the rows of the output and the fan-in. */
function formOf(call: Call): Form {
  const {x, factors, gain, dropped, defer} = call;
  const gainTrains = !!gain && learns(gain) && call.inStep;
  const withItsGain = (form: Form) => (gain ? withGain(form, gain, gainTrains) : form);
  if (!factors) {
    return withItsGain(updateNothing(call));
  }
  const {a, b} = factors;
  const rows = tf.util.sizeFromShape(x.shape.slice(0, -1)); // strides aside, an output has as many as the input
  const {fanIn, fanOut} = fans([...a.shape.slice(0, -1), lastAxis(b.shape)]);
  if (dropped || rows <= (isNarrow(a, b) ? Math.min(fanIn, fanOut) : fanIn)) {
    return withItsGain(updateOutputs(call, factors));
  }
  const gainedForm = gainTrains && fanIn === a.shape[a.rank - 2] ? defer?.gainedForm : undefined;
  return gain && gainedForm ? gainedForm(call, factors, gain) : withItsGain(updateKernel(call, factors));
}

/** Whether there are so few outputs that the kernel is hardly larger than the factors. */
function isNarrow(a: tf.Tensor, b: tf.Tensor): boolean {
  return lastAxis(b.shape) <= 2 * lastAxis(a.shape);
}

/** The gradients in `W`, `A` and `B`, for that of the product of either form, and `dh`, that in `h`. */
function weightGradients(
  op: Linear,
  dp: tf.Tensor,
  {x, dropped, kernel, a, b, h}: Kept,
  {scaling, keepsInput}: {scaling: number; keepsInput: boolean},
): {dh: () => tf.Tensor; ofWeights: Gradients} {
  const branch = lowRankOf(op);
  const dh = () => branch.collect(dp, scaled(b, scaling));
  const ofB = () => scaled(branch.gradientOfB(h ?? branch.project(x, a), dp), scaling);
  if (!keepsInput) {
    return {dh, ofWeights: {b: ofB}};
  }
  const ofKernel = () => op.kernelGradient(x, dp, kernel.shape);
  if (isNarrow(a, b) && !dropped) {
    // The whole kernel's gradient then costs no more than two products of the rank's width.
    return {dh, ofWeights: {kernel: ofKernel, ...factorGradients(ofKernel(), {a, b, scaling})}};
  }
  const once = dh();
  const ofA = () => branch.gradientOfA(dropped ?? x, once, a.shape);
  return {dh: () => once, ofWeights: {kernel: ofKernel, a: ofA, b: ofB}};
}

/** `dx + dh·Aᵀ`, where `throughA` computes the second term; disposes `dx`. */
function plusTransposed(dx: tf.Tensor, dh: tf.Tensor, a: tf.Tensor, throughA: (dh: tf.Tensor) => tf.Tensor): tf.Tensor {
  // Each row of the input has one of the output.
  const [width, rank] = [lastAxis(dx.shape), lastAxis(dh.shape)];
  const isProduct = a.size === width * rank && dx.size * rank === dh.size * width;
  const settings = {scaling: 1, transposed: true, inStep: true};
  return plus(dx, isProduct ? addedProduct(dx, dh, a, settings) : undefined, () => throughA(dh));
}

/** `y + s·h·B`, or with `B` transposed, if the backend computes it at once. Predictions keep the bits of stock sums. */
function addedProduct(
  y: tf.Tensor,
  h: tf.Tensor,
  b: tf.Tensor,
  {scaling, transposed, inStep}: {scaling: number; transposed: boolean; inStep: boolean},
): tf.Tensor | undefined {
  const inOneLaunch = oneLaunch()?.addProduct?.(y, h, b, scaling, transposed);
  return inOneLaunch ?? (inStep ? capabilities().addProduct?.(y, h, scaled(b, scaling), transposed) : undefined);
}

/** `y + z`, unless the backend has computed it at once; disposes `y`. */
function plus(y: tf.Tensor, atOnce: tf.Tensor | undefined, z: () => tf.Tensor): tf.Tensor {
  return disposing(y, () => atOnce ?? disposing(z(), added => tf.add(y, added)));
}

/** Disposes a tensor after its last use: its memory is still in the cache, and the next result can use it. */
function disposing(x: tf.Tensor, f: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  const y = f(x);
  x.dispose();
  return y;
}

/** `f(x ∗ W + b)` as the stock layer computes it. */
export function stockOutput(
  call: Call,
  w: tf.Tensor,
  {bias, activation: {fused, apply}, defer}: BiasAndActivation,
): tf.Tensor {
  const atOnce = () => stockProduct(call, w, bias, fused);
  return defer?.(call.x, w, bias) ?? (fused === null ? apply(atOnce()) : atOnce());
}

/** `x ∗ W + b`, and the activation that the stock layer fuses. */
function stockProduct(
  {op, x, separateBias}: Call,
  w: tf.Tensor,
  bias: tf.Tensor | null,
  fused: FusedActivation | null,
) {
  return separateBias && fused === null && bias !== null
    ? disposing(op.forward(x, w, null, 'linear'), y => addBias(y, bias))
    : op.forward(x, w, bias, fused ?? 'linear');
}

function times(w: tf.Tensor, gain: tf.Tensor | undefined): tf.Tensor {
  return gain === undefined ? w : gained(w, gain);
}

/** The product `x·W`: `[n, in] · [in, out] → [n, out]`. */
export const denseOp: Linear = {
  isProduct: true,
  isByRow: true,
  forward: (x, kernel, bias, activation) => {
    const attributes = {transposeA: false, transposeB: false, activation};
    const fused = (a: tf.Tensor, b: tf.Tensor) => run(tf._FusedMatMul, {a, b, ...(bias && {bias})}, attributes);
    const stacked = (matrix: tf.Tensor) => tf.reshape(matrix, [1, ...matrix.shape]);
    return capabilities().launchesOperations
      ? fused(x, kernel)
      : tf.tidy(() => asMatrix(fused(stacked(x), stacked(kernel))));
  },
  inputGradient: (dz, kernel) => product(dz, kernel, false, true), // [n, out] · [out, in]
  kernelGradient: (x, dz) => product(x, dz, true), // [in, n] · [n, out]
};
