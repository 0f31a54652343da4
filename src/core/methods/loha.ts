import * as tf from '@tensorflow/tfjs';
import {asMatrix} from '../ops/factors';
import {limitOf, lora, scalingOf, timesAlpha} from './lora';
import type {Method, Parameters, Strength} from './method';

/**
 * LoHa: the entrywise product of two low-rank products, whose rank can be the square of theirs,
 *
 *     W' = W + s·(B₁·A₁) ⊙ (B₂·A₂)
 *
 * with PEFT's names: `hada_w1_b`, `[...fan-in axes, rank]`, and `hada_w1_a`, `[rank, ...out axes]`, and the same of
 * `w2`. `hada_w2_a` starts at zero, the others random, from N(0, 1) and N(0, 0.1). (Hyeon-Woo et al., "FedPara", arXiv
 * 2108.06098, §2; Yeh et al., "LyCORIS", arXiv 2309.14859; PEFT.)
 */
export const loha: Method = {
  name: 'loha',
  parameterNames: ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'],
  parameters: (weight, rank, {seed}) => {
    const [a, b] = lora.parameters(weight, rank, {}).map(({shape}) => shape) as [number[], number[]];
    const normal = (stddev: number, i: number) =>
      tf.initializers.randomNormal({mean: 0, stddev, ...(seed !== undefined && {seed: seed + i})});
    const spec = (name: string, shape: number[], initializer: ReturnType<typeof normal>, neutralAtStart = false) => {
      return {name, shape, trains: true, initializer, neutralAtStart};
    };
    return [
      spec('hada_w1_a', b, normal(0.1, 0)),
      spec('hada_w1_b', a, normal(1, 1)),
      spec('hada_w2_a', b, tf.initializers.zeros(), true),
      spec('hada_w2_b', a, normal(1, 2)),
    ];
  },
  rankLimit: limitOf,
  merge: (parameters, strength, {weight}) => tf.tidy(() => tf.add(weight.variable.read(), delta(parameters, strength))),
  delta,
  scale: timesAlpha,
};

function delta(parameters: Parameters, strength: Strength): tf.Tensor {
  const [w1a, w1b, w2a, w2b] = loha.parameterNames.map(name => parameters[name]) as [
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
  ];
  return tf.tidy(() => {
    const product = (b: tf.Tensor, a: tf.Tensor) => tf.matMul(asMatrix(b), tf.reshape(a, [a.shape[0], -1]));
    const update = tf.mul(tf.mul(product(w1b, w1a), product(w2b, w2a)), scalingOf(strength));
    return tf.reshape(update, [...w1b.shape.slice(0, -1), ...w1a.shape.slice(1)]);
  });
}
