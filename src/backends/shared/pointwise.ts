import type * as tf from '@tensorflow/tfjs';
import type {FusedOps, OutputActivationName} from './launches';
import type {AdamSettings, MomentumSettings, OptimizerSteps, StepSettings, Update} from './optimizerSteps';
import {replace} from './variableSteps';

/** An elementwise computation on tensors of one shape. */
export interface Pointwise {
  readonly name: string;
  /** Names of the tensors. */
  readonly inputs: readonly string[];
  /** Names of the tensors after these, each a vector along the last axis. */
  readonly vectors?: readonly string[];
  /** Names of the scalars. */
  readonly settings: readonly string[];
  /** Each result, by an expression of all these and of the results before it that WGSL and GLSL both know. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** Computes all results on a backend. */
export type RunPointwise = (code: Pointwise, inputs: readonly tf.Tensor[], settings: readonly number[]) => tf.Tensor[];

/** The arguments of a computation. */
export interface PointwiseCall {
  readonly inputs: readonly tf.Tensor[];
  readonly settings: readonly number[];
}

/** Computes one thing several times, and passes the results of each call on. They are the receiver's. */
export type RunEach = (
  code: Pointwise,
  calls: readonly PointwiseCall[],
  take: (results: tf.Tensor[], call: number) => void,
) => void;

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

/** Elementwise operations. */
export function pointwiseOperations(run: RunPointwise): FusedOps {
  return {
    affine: (x, m, t) => (x.rank > 4 ? undefined : run(t ? AFFINE : SCALE, t ? [x, m, t] : [x, m], [])[0]),
    activationGradient: (name, dy, y) => run(GRADIENTS[name], [dy, y], [])[0],
  };
}

// A step changes no tensor in place: others may share its values, and reading from a graphics card is slow.

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

/** Steps in few launches, by programs of our own. */
export function pointwiseSteps(run: RunEach): OptimizerSteps {
  /** Runs steps whose results are the slots and the variable. */
  const steps =
    <Settings>(code: Pointwise, numbersOf: (settings: Settings) => number[]) =>
    (updates: readonly Update<Settings>[]) => {
      const calls = updates.map(([value, gradient, slots, settings]) => ({
        inputs: [value, gradient, ...slots],
        settings: numbersOf(settings),
      }));
      run(code, calls, (results, i) => {
        const [value, , slots] = updates[i] as Update<Settings>;
        replace([...slots, value], results);
      });
    };
  return {
    adam: steps(
      ADAM,
      ({learningRate, gradientScale, beta1, beta2, epsilon, corrections, decayFactor}: AdamSettings) => [
        ...[gradientScale, beta1, 1 - beta1, beta2, 1 - beta2, ...corrections, learningRate, epsilon, decayFactor],
      ],
    ),
    momentum: steps(MOMENTUM, ({learningRate, gradientScale, momentum, nesterov}: MomentumSettings) => [
      ...[gradientScale, momentum, learningRate, nesterov ? 1 : 0],
    ]),
    descend: steps(DESCENT, ({learningRate, gradientScale}: StepSettings) => [gradientScale, learningRate]),
  };
}
