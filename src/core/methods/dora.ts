import * as tf from '@tensorflow/tfjs';
import {asMatrix, inShape, product, scaled, updatedKernel} from '../ops/factors';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {unrecorded} from '../ops/recording';
import {outputShape, overOutputs, stacked} from './channels';
import {factors, limitOf, lora, pair} from './lora';
import type {AdaptableWeight, Method, Parameters, Strength, UpdateSite} from './method';

const MAGNITUDE = 'lora_magnitude_vector';

/**
 * DoRA: LoRA updates the direction of each output's weights, and their length trains separately,
 *
 *     W' = m ⊙ V / ‖V‖,    V = W + s·A·B
 *
 * with a norm for each output. `m` starts as `‖W‖`. The norm has no gradient (§4.3 of the paper, as in PEFT). Weights
 * that are all zero have no direction; the update of such an output is LoRA's, `W' = V`. (Liu et al., "DoRA", arXiv
 * 2402.09353, §4.)
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
  rankLimit: limitOf,
  start: neutral,
  neutral,
  update: (parameters, strength, site) =>
    site.takesGain && (strength.share ?? 1) === 1
      ? {factors: factors(parameters, strength), gain: gainOf(parameters, strength, site)}
      : {kernel: merge(parameters, strength, site)},
  merge,
  scale: (strength, k) => ({...strength, share: (strength.share ?? 1) * k}),
  factorsOf: pair,
};

/** With `B`, or `A`, at zero, this magnitude leaves the weight unchanged. */
function neutral(site: UpdateSite): Record<string, tf.Tensor> {
  return {[MAGNITUDE]: tf.reshape(tf.sqrt(base(site)[0]), outputShape(site.weight))};
}

function merge(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor {
  return tf.tidy(() => {
    const kernel = site.weight.variable.read();
    const v = updatedKernel(kernel, factors(parameters, strength));
    const merged = overOutputs(site.weight, v, gainOf(parameters, strength, site));
    const {share = 1} = strength;
    return share === 1 ? merged : tf.add(kernel, tf.mul(tf.sub(merged, kernel), share));
  });
}

/** `m / ‖V‖`, or 1 if the base has no direction. Differentiable only in `m`. */
function gainOf(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor {
  const magnitude = parameters[MAGNITUDE] as tf.Tensor;
  const [, hasDirection] = base(site);
  const shaped = (x: tf.Tensor) => inShape(x, magnitude.shape);
  const [gain, norm] = runLazyOp({
    inputs: {magnitude},
    save: {norm: true},
    forward: (): tf.Tensor[] => {
      const length = shaped(tf.sqrt(tf.maximum(squaresOf(parameters, strength, site), LEAST)));
      return [tf.where(shaped(hasDirection), tf.div(magnitude, length), tf.onesLike(magnitude)), length];
    },
    gradient: (dg, saved) => ({
      magnitude: () => tf.where(shaped(hasDirection), tf.div(dg, saved.norm), tf.zerosLike(dg)),
    }),
  }) as [tf.Tensor, tf.Tensor];
  norm.dispose();
  return gain;
}

/** Smaller squares have too few bits left to divide by. */
const LEAST = 1e-30;

/** `‖W‖²` for each output, in a row, and whether there is a direction. Cached until the weight changes. */
function base({weight, prepared}: UpdateSite): readonly [squares: tf.Tensor, hasDirection: tf.Tensor] {
  const kernel = weight.variable.read();
  return prepared.get([kernel], () => {
    const [squares, hasDirection] = unrecorded(() => {
      const sums = squaresIn(weight, kernel);
      return [sums, tf.greater(sums, LEAST)];
    });
    return [squares as tf.Tensor, hasDirection as tf.Tensor] as const;
  });
}

/**
 * `‖V‖²` for each output. If the columns of `B` are the outputs, `V` need not be formed:
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
  const sb = scaled(inShape(b, [low.shape[1], -1]), scaling); // [r, out]
  const cross = product(low, columns(kernel, sb.shape[1] as number), true); // [r, out]
  const square = product(product(low, low, true), sb); // [r, r] · [r, out]
  const change = tf.sum(tf.mul(tf.add(tf.mul(cross, 2), square), sb), 0);
  return tf.add(base(site)[0], change);
}

function squaresIn(weight: AdaptableWeight, kernel: tf.Tensor): tf.Tensor {
  const outputs = tf.util.sizeFromShape(outputShape(weight));
  return weight.transposed
    ? tf.sum(tf.square(stacked(kernel)), [0, 2])
    : tf.sum(tf.square(columns(kernel, outputs)), 0);
}

function columns(kernel: tf.Tensor, outputs: number): tf.Tensor {
  return kernel.rank === 2 && kernel.shape[1] === outputs ? kernel : tf.reshape(kernel, [-1, outputs]);
}
