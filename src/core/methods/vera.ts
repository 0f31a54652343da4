import * as tf from '@tensorflow/tfjs';
import {delta, type Factors, updatedKernel} from '../ops/factors';
import {uniform} from './initializer';
import type {Method, Parameters, Strength} from './method';
import {scalingOf, timesAlpha} from './lora';

/**
 * VeRA: random factors, the same for all layers, never train; what trains is a value for each rank and each output,
 *
 *     W' = W + s·A·diag(d)·B·diag(b)
 *
 * `A`, `[...fan-in axes, rank]`, and `B`, `[rank, ...out axes]`, are the first rows and columns of two matrices that
 * are large enough for every layer. `d` starts at 0.1 and `b` at zero. (Kopiczko et al., "VeRA", arXiv 2310.11454, §3;
 * initialisation as in PEFT.)
 */
export const vera: Method = {
  name: 'vera',
  parameterNames: ['vera_A', 'vera_B', 'vera_lambda_d', 'vera_lambda_b'],
  shared: {vera_A: 'rows', vera_B: 'columns'},
  parameters: (weight, rank, {seed}) => {
    const {variable, outAxes = 1} = weight;
    const shape = variable.shape as number[];
    const [inputs, outputs] = [shape.slice(0, -outAxes), shape.slice(-outAxes)];
    const fixed = (name: string, matrixShape: number[], fanIn: number, i: number) => {
      const initializer = uniform(Math.sqrt(6 / fanIn), seed, i);
      return {name, shape: matrixShape, trains: false, initializer, neutralAtStart: false};
    };
    return [
      fixed('vera_A', [...inputs, rank], tf.util.sizeFromShape(inputs), 0),
      fixed('vera_B', [rank, ...outputs], rank, 1),
      {
        name: 'vera_lambda_d',
        shape: [rank],
        trains: true,
        initializer: tf.initializers.constant({value: 0.1}),
        neutralAtStart: false,
      },
      {name: 'vera_lambda_b', shape: outputs, trains: true, initializer: tf.initializers.zeros(), neutralAtStart: true},
    ];
  },
  // The random factors add no trainable parameters, so the rank may exceed what the weight could use.
  rankLimit: () => Infinity,
  update: (parameters, strength) => ({factors: factors(parameters, strength)}),
  delta: (parameters, strength) => tf.tidy(() => delta(factors(parameters, strength))),
  merge: (parameters, strength, {weight}) =>
    tf.tidy(() => updatedKernel(weight.variable.read(), factors(parameters, strength))),
  scale: timesAlpha,
  product: parameters => factors(parameters, {rank: 1, alpha: 1, rankStabilized: false}),
};

function factors(
  {vera_A: a, vera_B: b, vera_lambda_d: d, vera_lambda_b: gain}: Parameters,
  strength: Strength,
): Factors {
  const [A, B, D, G] = [a, b, d, gain] as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
  const rows = tf.reshape(D, [D.size, ...B.shape.slice(1).map(() => 1)]);
  return {a: A, b: tf.mul(tf.mul(B, rows), G), scaling: scalingOf(strength)};
}
