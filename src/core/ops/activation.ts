import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch} from '../../backends/shared/capabilities';
import type {OutputActivationName} from '../../backends/shared/launches';
import {isRecording, run} from '../../platform/tfjs/engine';
import {runLazyOp} from '../../platform/tfjs/lazyOp';

/** Activations that the fused kernels of every backend support. */
export type FusedActivation = 'linear' | 'relu' | 'elu' | 'relu6';

/** An activation whose gradient needs only its output, so that its input is not kept. */
export interface OutputActivation {
  /** The fused kernel that stock layers use for it, if any. */
  fused: FusedActivation | null;
  /** `dy · f'(x)`, given `y = f(x)`. `null` where that is `dy` itself. */
  gradient: ((dy: tf.Tensor, y: tf.Tensor) => tf.Tensor) | null;
  /** The activation is `min(max(x, 0), cap)`. */
  cap?: number;
}

/** A known activation, and how to compute it. */
export interface Activation extends OutputActivation {
  apply: (x: tf.Tensor) => tf.Tensor;
}

/** The gradient of relu from its output: `dy` where that is positive, else 0. */
export const reluGradient = activationGradient('relu', (dy, y) => tf.mul(dy, tf.step(y)));

/** By tfjs's name. These return 0 where tfjs's own gradient is ambiguous: at 0, at 6, and at ±2.5 for hardSigmoid. */
const OUTPUT_ACTIVATIONS: Readonly<Record<string, OutputActivation>> = {
  linear: {fused: 'linear', gradient: null},
  relu: {fused: 'relu', gradient: reluGradient, cap: Infinity},
  elu: {fused: 'elu', gradient: (dy, y) => run(tf.EluGrad, {dy, y}, {})},
  relu6: {fused: null, gradient: cappedReluGradient(6), cap: 6},
  hardSigmoid: {fused: null, gradient: (dy, y) => tf.mul(dy, tf.mul(0.2, tf.step(tf.mul(y, tf.sub(1, y)))))},
  sigmoid: {
    fused: null,
    gradient: activationGradient('sigmoid', (dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))),
  },
  tanh: {fused: null, gradient: activationGradient('tanh', (dy, y) => tf.mul(dy, tf.sub(1, tf.square(y))))},
};

/** A known activation, by tfjs's name for it; `undefined` if its gradient needs its input. */
export function outputActivation(name: string): OutputActivation | undefined {
  return Object.hasOwn(OUTPUT_ACTIVATIONS, name) ? OUTPUT_ACTIVATIONS[name] : undefined;
}

/** The gradient of `min(max(x, 0), cap)` from its output: `dy` strictly between the bounds, else 0. */
export function cappedReluGradient(cap: number): (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor {
  const composed = (dy: tf.Tensor, y: tf.Tensor) => tf.mul(dy, tf.step(tf.mul(y, tf.sub(cap, y))));
  return cap === 6 ? activationGradient('relu6', composed) : composed;
}

/** A separate activation, with the gradient from its output. tfjs's own for relu6 takes three slow wasm kernels. */
export function activate(x: tf.Tensor, {apply, gradient}: Activation): tf.Tensor {
  return runLazyOp({
    inputs: {x},
    save: {y: gradient !== null},
    forward: () => apply(x),
    gradient: (dy, {y}) => ({x: () => (gradient === null ? dy : gradient(dy, y))}),
  });
}

/**
 * An activation whose gradient is tfjs's. A recorded softmax takes one launch each way, if the backend has such
 * kernels.
 *
 * @param name tfjs's name for it.
 */
export function activateAsStock(x: tf.Tensor, name: string, apply: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  const launches = capabilities().oneLaunch;
  return name === 'softmax' && launches?.softmax !== undefined && isRecording()
    ? activate(x, {fused: null, gradient: softmaxGradient, apply: z => launches.softmax?.(z) ?? apply(z)})
    : apply(x);
}

function softmaxGradient(dy: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const composed = (product: tf.Tensor) => tf.sub(product, tf.mul(tf.sum(product, -1, true), y));
  return oneLaunch()?.softmaxGradient?.(dy, y) ?? composed(tf.mul(dy, y));
}

/** The gradient of an activation from its output: in one launch, or `composed` if the backend has no kernel for it. */
function activationGradient(
  name: OutputActivationName,
  composed: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor,
): (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor {
  return (dy, y) => oneLaunch()?.activationGradient?.(name, dy, y) ?? composed(dy, y);
}
