import * as tf from '@tensorflow/tfjs';
import {delta, type Factors, inShape, updatedKernel} from '../ops/factors';
import {orthonormal, truncatedSVDNow} from '../ops/svd';
import {limitOf, lora, scalingOf, timesAlpha} from './lora';
import type {PrincipalInit} from './initializer';
import type {Method, Parameters, Strength} from './method';

/** The initial product, `[m, r] · [r, n]`, for a weight as a matrix. */
type Beginning = (
  matrix: tf.Tensor2D,
  rank: number,
  scaling: number,
  seed: number | undefined,
) => [tf.Tensor, tf.Tensor];

/**
 * A LoRA that starts from a part of the weight itself, `s·A₀·B₀`, and subtracts the same part, so that the base need
 * not change:
 *
 *     W' = W + s·(A·B − A₀·B₀)
 *
 * `A` and `B` train; `A₀` and `B₀` keep their initial values. It is computed as one product of twice the rank, `[A −
 * A₀, A₀]·[B; B − B₀]`, which is exactly zero at the start and avoids cancellation.
 */
function principal(name: PrincipalInit, begin: Beginning): Method {
  return {
    name,
    parameterNames: [...lora.parameterNames, 'lora_A0', 'lora_B0'],
    parameters: (weight, rank) =>
      lora.parameters(weight, rank, {}).flatMap(({name: factor, shape}) => {
        const initializer = tf.initializers.zeros();
        return [
          {name: factor, shape, trains: true, initializer, neutralAtStart: true},
          {name: `${factor}0`, shape, trains: false, initializer, neutralAtStart: false},
        ];
      }),
    rankLimit: limitOf,
    start: ({weight}, strength, {seed}) => {
      const [a, b] = lora.parameters(weight, strength.rank, {});
      const kernel = weight.variable.read();
      const matrix = tf.reshape(kernel, [-1, tf.util.sizeFromShape(kernel.shape.slice(-(weight.outAxes ?? 1)))]);
      const parts = begin(matrix as tf.Tensor2D, b?.shape[0] ?? 1, scalingOf(strength) || 1, seed);
      const [A, B] = [a, b].map((spec, i) => inShape(parts[i] as tf.Tensor, spec?.shape ?? []));
      return {lora_A: A as tf.Tensor, lora_B: B as tf.Tensor, lora_A0: A as tf.Tensor, lora_B0: B as tf.Tensor};
    },
    neutral: (_, {lora_A0, lora_B0}) => ({lora_A: lora_A0 as tf.Tensor, lora_B: lora_B0 as tf.Tensor}),
    update: (parameters, strength) => ({factors: factors(parameters, strength)}),
    delta: (parameters, strength) => delta(factors(parameters, strength)),
    merge: (parameters, strength, {weight}) => updatedKernel(weight.variable.read(), factors(parameters, strength)),
    scale: timesAlpha,
    product: parameters => factors(parameters, {rank: 1, alpha: 1, rankStabilized: false}),
  };
}

function factors({lora_A: a, lora_B: b, lora_A0: a0, lora_B0: b0}: Parameters, strength: Strength): Factors {
  const [A, B, A0, B0] = [a, b, a0, b0] as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
  return {
    a: tf.concat([tf.sub(A, A0), A0], A.rank - 1),
    b: tf.concat([B, tf.sub(B, B0)], 0),
    scaling: scalingOf(strength),
  };
}

/**
 * PiSSA: LoRA that starts from the principal part of the weight, `U·S·Vᵀ ≈ W` of the given rank: `A₀ = U·√(S/s)`,
 * `B₀ = √(S/s)·Vᵀ`. (Meng et al., "PiSSA", arXiv 2404.02948, §3, with its fast singular value decomposition.)
 */
export const pissa = principal('pissa', (matrix, rank, scaling, seed) => {
  const {u, s, v} = truncatedSVDNow([matrix], rank, seed);
  const root = tf.sqrt(tf.div(s, scaling));
  return [tf.mul(u, root), tf.transpose(tf.mul(v, root))];
});

/**
 * OLoRA: LoRA that starts from an orthonormal basis of the first `rank` rows of the weight, `B₀`, and the weight in it,
 * `A₀ = W·B₀ᵀ`. (Büyükakyüz, "OLoRA", arXiv 2406.01775, §3, as in PEFT, whose weights have their inputs for columns.)
 */
export const olora = principal('olora', (matrix, rank) => {
  const basis = orthonormal(tf.transpose(tf.slice(matrix, [0, 0], [rank, -1]))); // [n, r]
  return [tf.matMul(matrix, basis), tf.transpose(basis)];
});
