import type * as tf from '@tensorflow/tfjs';
import type {OneLaunch, OutputActivationName} from './capabilities';
import {type OptimizerSteps, replaceSlots} from './optimizerSteps';

/** A computation number by number, on tensors of one shape. */
export interface Pointwise {
  readonly name: string;
  /** Names of the tensors. */
  readonly inputs: readonly string[];
  /** Names of the tensors after these, each a vector along the last axis. */
  readonly vectors?: readonly string[];
  /** Names of the numbers. */
  readonly settings: readonly string[];
  /** Each result, by an expression of all these and of the results before it that WGSL and GLSL both know. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** Computes all results on a backend. */
export type RunPointwise = (code: Pointwise, inputs: readonly tf.Tensor[], settings: readonly number[]) => tf.Tensor[];

function gradient(name: string, slope: string): Pointwise {
  return {name, inputs: ['d', 'y'], settings: [], outputs: {x: `d * ${slope}`}};
}

/** Gradients of activations by their outputs. */
const GRADIENTS: Readonly<Record<OutputActivationName, Pointwise>> = {
  relu: gradient('relu', 'sign(y)'),
  relu6: gradient('relu6', 'sign(y) * sign(6.0 - y)'),
  sigmoid: gradient('sigmoid', 'y * (1.0 - y)'),
  tanh: gradient('tanh', '(1.0 - y * y)'),
};

const SCALE: Pointwise = {name: 'scale', inputs: ['x'], vectors: ['m'], settings: [], outputs: {y: 'x * m'}};
const AFFINE: Pointwise = {...SCALE, name: 'affine', vectors: ['m', 't'], outputs: {y: 'x * m + t'}};

/** Operations that are computed number by number. */
export function pointwiseOperations(run: RunPointwise): OneLaunch {
  return {
    affine: (x, m, t) => (x.rank > 4 ? undefined : run(t ? AFFINE : SCALE, t ? [x, m, t] : [x, m], [])[0]),
    activationGradient: (name, dy, y) => run(GRADIENTS[name], [dy, y], [])[0],
  };
}

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
