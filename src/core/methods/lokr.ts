import * as tf from '@tensorflow/tfjs';
import {uniform} from './initializer';
import type {AdaptableWeight, Method, Parameters, ParameterSpec, Strength} from './method';
import {scalingOf, timesAlpha} from './lora';

/**
 * LoKr: the Kronecker product of a small matrix and another, which is a low-rank product if that is smaller,
 *
 *     W' = W + s·(w₁ ⊗ w₂),    w₂ = w₂b·w₂a
 *
 * with PEFT's names, and inputs before outputs: `lokr_w1`, `[in₁, out₁]`; `lokr_w2`, `[...space, in₂, out₂]`, or
 * `lokr_w2_b`, `[...space, in₂, rank]`, and `lokr_w2_a`, `[rank, out₂]`. The fan-in and the outputs are each divided
 * into two factors as close as possible. `lokr_w1` starts at zero, the others like LoRA's `A`. (Yeh et al.,
 * "LyCORIS", arXiv 2309.14859, §4.2; PEFT without `decompose_both`.)
 */
export const lokr: Method = {
  name: 'lokr',
  parameterNames: ['lokr_w1', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b'],
  parameters: (weight, rank, {seed}) => {
    const {space, inputs, outputs} = divided(weight);
    const [[in1, in2], [out1, out2]] = [inputs, outputs];
    const places = tf.util.sizeFromShape(space);
    const spec = (name: string, shape: number[], initializer = tf.initializers.zeros()): ParameterSpec => {
      return {name, shape, trains: true, initializer, neutralAtStart: name === 'lokr_w1'};
    };
    const small = spec('lokr_w1', [in1, out1]);
    return rank < Math.max(in2, out2) / 2
      ? [
          small,
          spec('lokr_w2_a', [rank, out2], uniform(1 / Math.sqrt(rank), seed)),
          spec('lokr_w2_b', [...space, in2, rank], uniform(1 / Math.sqrt(in2 * places), seed, 1)),
        ]
      : [small, spec('lokr_w2', [...space, in2, out2], uniform(1 / Math.sqrt(in2 * places), seed))];
  },
  // From half of its size on, `w₂` is whole.
  rankLimit: () => Infinity,
  merge: (parameters, strength, {weight}) =>
    tf.tidy(() =>
      tf.add(weight.variable.read(), tf.reshape(delta(parameters, strength), weight.variable.shape as number[])),
    ),
  scale: timesAlpha,
};

/** `s·(w₁ ⊗ w₂)`, as `[...space, in, out]`. */
function delta({lokr_w1: w1, lokr_w2: fullW2, lokr_w2_a: a, lokr_w2_b: b}: Parameters, strength: Strength): tf.Tensor {
  const w2 = fullW2 ?? lowRank(b as tf.Tensor, a as tf.Tensor);
  const [in1 = 1, out1 = 1] = (w1 as tf.Tensor).shape;
  const [in2 = 1, out2 = 1] = w2.shape.slice(-2);
  const space = w2.shape.slice(0, -2);
  const places = tf.util.sizeFromShape(space);
  const outer = tf.matMul(tf.reshape(tf.mul(w1 as tf.Tensor, scalingOf(strength)), [-1, 1]), tf.reshape(w2, [1, -1]));
  const parts = tf.reshape(outer, [in1, out1, places, in2, out2]);
  return tf.reshape(tf.transpose(parts, [2, 0, 3, 1, 4]), [...space, in1 * in2, out1 * out2]);
}

function lowRank(b: tf.Tensor, a: tf.Tensor): tf.Tensor {
  const product = tf.matMul(tf.reshape(b, [-1, a.shape[0]]), a);
  return tf.reshape(product, [...b.shape.slice(0, -1), a.shape[1] as number]);
}

/** The axes of a weight: space, inputs (channels), and outputs, the last two as products of two numbers. */
function divided({variable, outAxes = 1}: AdaptableWeight): {
  space: number[];
  inputs: [number, number];
  outputs: [number, number];
} {
  const shape = variable.shape as number[];
  const before = shape.slice(0, -outAxes);
  return {
    space: before.slice(0, -1),
    inputs: divisors(before.at(-1) ?? 1),
    outputs: divisors(tf.util.sizeFromShape(shape.slice(-outAxes))),
  };
}

/** The two factors of a number that are closest to each other, the smaller first. */
export function divisors(n: number): [number, number] {
  let small = Math.floor(Math.sqrt(n));
  while (n % small !== 0) {
    small--;
  }
  return [small, n / small];
}
