import type * as tf from '@tensorflow/tfjs';
import {type OptimizerSteps, replaceSlots} from './optimizerSteps';
import type {Pointwise, RunPointwise} from './pointwise';

// A step changes no tensor in place: others may share its numbers, and reading a tensor of a graphics card takes a
// while.

const ADAM: Pointwise = {
  name: 'adam',
  inputs: ['x', 'g', 'm', 'v'],
  settings: ['scale', 'beta1', 'rest1', 'beta2', 'rest2', 'correction1', 'correction2', 'rate', 'epsilon', 'kept'],
  outputs: {
    m1: 'm * beta1 + g * scale * rest1',
    v1: 'v * beta2 + g * scale * (g * scale) * rest2',
    y: 'x * kept - rate * (m1 / correction1 / (sqrt(v1 / correction2) + epsilon))',
  },
};

const MOMENTUM: Pointwise = {
  name: 'momentum',
  inputs: ['x', 'g', 'm'],
  settings: ['scale', 'factor', 'rate', 'nesterov'],
  outputs: {
    m1: 'm * factor + g * scale',
    y: 'x - rate * (m1 * (1.0 - nesterov) + (g * scale + m1 * factor) * nesterov)',
  },
};

const DESCENT: Pointwise = {
  name: 'descent',
  inputs: ['x', 'g'],
  settings: ['scale', 'rate'],
  outputs: {y: 'x - rate * (g * scale)'},
};

/** The steps of a variable in few launches, by programs of our own. */
export function pointwiseSteps(run: RunPointwise): OptimizerSteps {
  return {
    adam: (value, gradient, slots, settings) => {
      const {learningRate, gradientScale, beta1, beta2, epsilon, corrections, kept} = settings;
      const numbers = [gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, ...corrections, learningRate, epsilon, kept];
      const [m, v, y] = run(ADAM, [value, gradient, ...slots], numbers) as [tf.Tensor, tf.Tensor, tf.Tensor];
      replaceSlots(slots, [m, v]);
      return y;
    },
    momentum: (value, gradient, slots, {learningRate, gradientScale, momentum, nesterov}) => {
      const numbers = [gradientScale, momentum, learningRate, nesterov ? 1 : 0];
      const [m, y] = run(MOMENTUM, [value, gradient, ...slots], numbers) as [tf.Tensor, tf.Tensor];
      replaceSlots(slots, [m]);
      return y;
    },
    descend: (value, gradient, {learningRate, gradientScale}) =>
      run(DESCENT, [value, gradient], [gradientScale, learningRate])[0] as tf.Tensor,
  };
}
