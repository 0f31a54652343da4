import type * as tf from '@tensorflow/tfjs';
import type {OneLaunch, OutputActivationName} from './capabilities';

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
