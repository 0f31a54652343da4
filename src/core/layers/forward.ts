import * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../platform/errors';
import {activate, activateAsStock, type Activation, outputActivation} from '../ops/activation';
import {gained, type Linear} from '../ops/factors';
import {linear, type LinearWeights, type StockCall} from '../ops/linear';
import type {Prepared} from '../../platform/tfjs/prepared';
import {changeOf, type Update} from '../ops/update';
import type {KernelLayer} from '../../platform/tfjs/layerFields';

/** Computes what a stock layer computes, with or without an update, without a gradient for what is frozen. */
export type Forward = (layer: tf.layers.Layer, x: tf.Tensor, call: ForwardCall) => tf.Tensor;

/** The inputs of a layer's computation. */
export interface ForwardCall {
  /** The update of its kernel; an empty one for a frozen layer. */
  update: Update;
  /** Values kept from one call to the next. */
  prepared: Prepared;
  /** The keyword arguments of `call`. */
  kwargs: Record<string, unknown>;
}

export function asFloat(x: tf.Tensor): tf.Tensor {
  return x.dtype === 'float32' ? x : tf.cast(x, 'float32');
}

export interface Compute {
  (x: tf.Tensor, weights: LinearWeights, activation: Activation): tf.Tensor;
  /** Whether factors may take a separate input. Default: false. */
  branches?: boolean;
}

/** Computes by `linear`. */
export function by(op: Linear): Compute {
  const compute: Compute = (x, weights, activation) => linear(op, x, weights, activation);
  compute.branches = true;
  return compute;
}

/** A linear operation, the activation, and `restore`, which gives the result the layout of the layer's output. */
export function applyLinear(
  compute: Compute,
  x: tf.Tensor,
  layer: KernelLayer & {readonly dataFormat?: string},
  {update}: ForwardCall,
  {separateBias, fuses, defer}: StockCall,
  restore: (y: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const {activation, dataFormat} = layer;
  const input = update.inputGain === undefined ? asFloat(x) : gained(asFloat(x), update.inputGain);
  if (update.dropout !== undefined && !(compute.branches && update.factors !== undefined)) {
    return activation.apply(restore(inTwoParts(compute, input, layer, update)));
  }
  const {factors, gain} = update;
  const weights = {
    kernel: update.kernel ?? layer.kernel.read(),
    trains: update.kernel !== undefined,
    bias: biasOf(layer, update),
    separateBias,
    factors: factors ?? null,
    gain: gain ?? null,
    dropped: update.dropout?.drop(input),
    defer,
  };
  const name = activation.getClassName();
  const outputForm = outputActivation(name);
  const isRelu6 = name === 'relu6';
  const fused = (isRelu6 && fuses === 'relu6 too' ? 'relu6' : fuses && outputForm?.fused) || null;
  // Stock layers take a minimum of a relu, which is slow on wasm.
  const apply = isRelu6 ? tf.relu6 : (z: tf.Tensor) => activation.apply(z);
  // TensorFlow computes a sigmoid in vectors and the remainder differently: the last bits depend on the layout.
  if (outputForm && (fused !== null || outputForm.gradient === null || dataFormat !== 'channelsFirst')) {
    return restore(compute(input, weights, {...outputForm, fused, apply}));
  }
  // The activation's gradient needs its input, it is not elementwise, or the layout changes: leave it where it was.
  const z = restore(compute(input, weights, UNFUSED_IDENTITY));
  return outputForm === undefined ? activateAsStock(z, name, apply) : activate(z, {...outputForm, apply});
}

function biasOf({bias}: KernelLayer, {biasGain}: Update): tf.Tensor | null {
  const baseBias = bias?.read() ?? null;
  return baseBias === null || biasGain === undefined ? baseBias : tf.mul(baseBias, biasGain);
}

/**
 * `x ∗ W + x̃ ∗ ΔW + b`, with elements dropped in `x̃`, for layers that cannot compute the update as a separate branch.
 */
function inTwoParts(compute: Compute, x: tf.Tensor, layer: KernelLayer, update: Update): tf.Tensor {
  const kernel = layer.kernel.read();
  const weights = {kernel, trains: layer.kernel.trainable, bias: biasOf(layer, update), separateBias: true};
  const change = {kernel: changeOf(kernel, update), trains: true, bias: null};
  const dropped = update.dropout?.drop(x) ?? x;
  return tf.add(compute(x, weights, UNFUSED_IDENTITY), compute(dropped, change, UNFUSED_IDENTITY));
}

/** Replaces an activation that follows: the stock layer fuses none. */
export const UNFUSED_IDENTITY: Activation = {fused: null, gradient: null, apply: z => z};

/** The input of a layer that takes just one, which tfjs may pass in a list. */
export function onlyTensor(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
  const [first, ...laterInputs] = Array.isArray(inputs) ? inputs : [inputs];
  if (first === undefined || laterInputs.length > 0) {
    throw misfitError(`Expected one input, got ${laterInputs.length + (first === undefined ? 0 : 1)}.`);
  }
  return first;
}

/** The input shape of a layer that takes just one, which tfjs may pass in a list. */
export function onlyShape(shapes: tf.Shape | tf.Shape[]): tf.Shape {
  return Array.isArray(shapes[0]) ? shapes[0] : (shapes as tf.Shape);
}
