import * as tf from '@tensorflow/tfjs';
import {asMatrix, gained, scaled, updatedKernel} from '../ops/factors';
import {product} from '../ops/kernels';
import {runLazyOp} from '../ops/lazyOp';
import {unrecorded} from '../ops/recording';
import {factors, lora} from './lora';
import type {AdaptableWeight, Method, Parameters, Strength, UpdateSite} from './method';

const MAGNITUDE = 'lora_magnitude_vector';

/**
 * DoRA: LoRA updates the direction of each output's weights, and their length trains by itself,
 *
 *     W' = m ⊙ V / ‖V‖,    V = W + s·A·B
 *
 * with a norm for each output. `m` starts as `‖W‖`. The norm has no gradient of its own (§4.3 of the paper, as in PEFT). Weights that are all
 * zero have no direction: of such an output the update is LoRA's, `W' = V`. (Liu et al., "DoRA", arXiv 2402.09353, §4.)
 */
export const dora: Method = {
  name: 'dora',
  parameterNames: [...lora.parameterNames, MAGNITUDE],
  parameters: (weight, rank, start) => [
    ...lora.parameters(weight, rank, start),
    {
      name: MAGNITUDE,
      shape: outputShape(weight),
      trains: true,
      initializer: tf.initializers.ones(),
      neutralAtStart: true,
    },
  ],
  rankLimit: weight => lora.rankLimit(weight),
  start: neutral,
  neutral,
  update: (parameters, strength, site) =>
    site.takesGain && (strength.share ?? 1) === 1
      ? {factors: factors(parameters, strength), gain: gainOf(parameters, strength, site)}
      : {kernel: merge(parameters, strength, site)},
  merge,
  scale: (strength, k) => ({...strength, share: (strength.share ?? 1) * k}),
  factorsOf: parameters => (lora.factorsOf as NonNullable<Method['factorsOf']>)(parameters),
};

/** With `B`, or `A`, at zero and this magnitude the weight is as it was. */
function neutral(site: UpdateSite): Record<string, tf.Tensor> {
  return {[MAGNITUDE]: tf.reshape(tf.sqrt(squaresOfBase(site)), outputShape(site.weight))};
}

function merge(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor {
  return tf.tidy(() => {
    const kernel = site.weight.variable.read();
    const v = updatedKernel(kernel, factors(parameters, strength));
    const gain = gainOf(parameters, strength, site);
    const merged = site.weight.transposed
      ? tf.reshape(tf.mul(stacked(v), tf.expandDims(gain, 1)), kernel.shape)
      : tf.reshape(gained(columns(v, gain.size), tf.reshape(gain, [-1])), kernel.shape);
    const {share = 1} = strength;
    return share === 1 ? merged : tf.add(kernel, tf.mul(tf.sub(merged, kernel), share));
  });
}

/** `m / ‖V‖`, or 1 where the base has no direction. Differentiable in `m` alone. */
function gainOf(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor {
  const magnitude = parameters[MAGNITUDE] as tf.Tensor;
  const [gain, perMagnitude] = runLazyOp({
    inputs: {magnitude},
    save: {h: true},
    forward: (): tf.Tensor[] => {
      const ofBase = squaresOfBase(site);
      const squares = squaresOf(parameters, strength, site);
      const hasDirection = tf.logicalAnd(tf.greater(ofBase, 0), tf.greater(squares, 0));
      const shaped = (x: tf.Tensor) => tf.reshape(x, magnitude.shape);
      const norm = shaped(tf.where(hasDirection, tf.sqrt(squares), tf.onesLike(squares)));
      const isLoRA = shaped(tf.cast(tf.logicalNot(hasDirection), 'float32'));
      const mask = tf.sub(1, isLoRA);
      return [tf.add(tf.mul(tf.div(magnitude, norm), mask), isLoRA), tf.div(mask, norm)];
    },
    gradient: (dg, {h}) => ({magnitude: () => tf.mul(dg, h as tf.Tensor)}),
  }) as [tf.Tensor, tf.Tensor];
  perMagnitude.dispose();
  return gain;
}

/** `‖W‖²` for each output, in a row. It is kept as long as the weight stays as it is. */
function squaresOfBase({weight, prepared}: UpdateSite): tf.Tensor {
  const kernel = weight.variable.read();
  const [squares] = prepared.get([kernel], () => unrecorded(() => [squaresIn(weight, kernel)]) as [tf.Tensor]);
  return squares;
}

/**
 * `‖V‖²` for each output. Where `B` has the outputs for columns, `V` need not be formed:
 *
 *     ‖W + s·A·B‖² = ‖W‖² + Σ (2s·Aᵀ·W + s²·Aᵀ·A·B) ⊙ B
 *
 * with a sum over the rank. This is `‖W‖²` to the bit where `A` or `B` is zero.
 */
function squaresOf(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor {
  const {weight} = site;
  const kernel = weight.variable.read();
  const {a, b, scaling} = factors(parameters, strength);
  if (weight.transposed) {
    return squaresIn(weight, updatedKernel(kernel, {a, b, scaling}));
  }
  const low = asMatrix(a); // [fan-in, r]
  const sb = scaled(tf.reshape(b, [low.shape[1], -1]), scaling); // [r, out]
  const cross = product(low, columns(kernel, sb.shape[1] as number), true); // [r, out]
  const square = product(product(low, low, true), sb); // [r, r] · [r, out]
  const change = tf.sum(tf.mul(tf.add(tf.mul(cross, 2), square), sb), 0);
  return tf.maximum(tf.add(squaresOfBase(site), change), 0);
}

function squaresIn(weight: AdaptableWeight, kernel: tf.Tensor): tf.Tensor {
  const outputs = tf.util.sizeFromShape(outputShape(weight));
  return weight.transposed
    ? tf.sum(tf.square(stacked(kernel)), [0, 2])
    : tf.sum(tf.square(columns(kernel, outputs)), 0);
}

/** A kernel of a transposed convolution, `[…, out, in]`, as `[space, out, in]`. */
function stacked(kernel: tf.Tensor): tf.Tensor {
  return tf.reshape(kernel, [-1, ...kernel.shape.slice(-2)]);
}

/** A kernel as a matrix with a column for each output. */
function columns(kernel: tf.Tensor, outputs: number): tf.Tensor {
  return kernel.rank === 2 && kernel.shape[1] === outputs ? kernel : tf.reshape(kernel, [-1, outputs]);
}

function outputShape({variable, outAxes = 1, transposed = false}: AdaptableWeight): number[] {
  const shape = variable.shape as number[];
  return transposed ? shape.slice(-2, -1) : shape.slice(-outAxes);
}
