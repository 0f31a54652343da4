import * as tf from '@tensorflow/tfjs';
import {made, OPERATIONS, sumOf} from '../../core/keras/operations';
import {type Case, elsewhere, read, relativeDifference} from './case';

/** What layers of Keras compute that tfjs does not have. */
export const kerasCases: readonly Case[] = [
  {
    behaviour: 'layers of Keras have the same outputs and gradients as on cpu',
    tolerance: 1e-4,
    halfTolerance: 3e-2,
    run: async () => {
      let largest = 0;
      for (const [, args, ...shapes] of OPERATIONS) {
        const computed = () => read(outputsAndSlopes(args, shapes));
        largest = Math.max(largest, relativeDifference(await computed(), await elsewhere('cpu', computed)));
      }
      return largest;
    },
  },
];

function outputsAndSlopes(args: (typeof OPERATIONS)[number][1], shapes: number[][]): tf.Tensor[] {
  return tf.tidy(() => {
    const {layer, inputs} = made(args, shapes);
    const [first, ...others] = inputs as [tf.Tensor, ...tf.Tensor[]];
    const variables = layer.trainableWeights.map(weight => (weight as unknown as {val: tf.Variable}).val);
    const {grads} =
      variables.length === 0
        ? {grads: {} as tf.NamedTensorMap}
        : tf.variableGrads(() => sumOf(layer, inputs), variables);
    return [
      layer.apply(others.length === 0 ? first : inputs) as tf.Tensor,
      tf.grad((x: tf.Tensor) => sumOf(layer, [x, ...others]))(first),
      ...Object.values(grads),
    ];
  });
}
