import type * as tf from '@tensorflow/tfjs';
import type {ActivationGradient} from './oneLaunch';
import {pointwise} from './pointwise';
import type {Pointwise} from './pointwiseCode';

function gradient(name: string, slope: string): Pointwise {
  return {name, inputs: ['d', 'y'], settings: [], outputs: {x: `d * ${slope}`}};
}

/** Gradients of activations by their outputs. */
const GRADIENTS: Readonly<Record<ActivationGradient, Pointwise>> = {
  ReluGrad: gradient('relu', 'sign(y)'),
  Relu6Grad: gradient('relu6', 'sign(y) * sign(6.0 - y)'),
  SigmoidGrad: gradient('sigmoid', 'y * (1.0 - y)'),
  TanhGrad: gradient('tanh', '(1.0 - y * y)'),
};

/** As in `OneLaunch`. */
export function pointwiseGradient(name: ActivationGradient, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined {
  return pointwise()?.(GRADIENTS[name], [dy, y], [])[0];
}

const SCALE: Pointwise = {name: 'scale', inputs: ['x'], vectors: ['m'], settings: [], outputs: {y: 'x * m'}};
const AFFINE: Pointwise = {...SCALE, name: 'affine', vectors: ['m', 't'], outputs: {y: 'x * m + t'}};

/** As in `OneLaunch`. */
export function pointwiseAffine(x: tf.Tensor, m: tf.Tensor, t?: tf.Tensor): tf.Tensor | undefined {
  return x.rank > 4 ? undefined : pointwise()?.(t ? AFFINE : SCALE, t ? [x, m, t] : [x, m], [])[0];
}
