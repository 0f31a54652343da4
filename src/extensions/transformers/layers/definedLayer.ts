import * as tf from '@tensorflow/tfjs';
import {joinedProducts} from '../../../backends/shared/jointProducts';
import {type Definition, type LayerClass, layerOf, type WeightSpec} from '../../../core/layers/formulaLayer';
import {TENSOR_OPS, type TransformerOps} from '../../../core/ops/formulaOps';
import {logOfZero} from '../../../core/ops/logOfZero';
import {registerOwn} from '../../../platform/tfjs/configs';
import {affine} from '../ops/affine';
import {croppedLike, paddedToPieces, patchPairs, rolled} from '../ops/features';
import {gate, gateHalves} from '../ops/gate';
import {normalizeRows} from '../ops/normalizeRows';
import {resizeFeatures, resizeGrid} from '../ops/resizeGrid';
import {rotateByAngles} from '../ops/rotary';
import {similarities} from '../ops/similarities';

/** The smallest sum of squares whose root has a gradient. */
const LEAST = 1e-30;

/** The operations of formulas on tensors, with the kernels of backends. */
const OPS: TransformerOps<tf.Tensor, number> = {
  ...TENSOR_OPS,
  ...{affine, gateHalves, rotate: rotateByAngles, logOfZero, cosines: similarities, shares: tf.divNoNan},
  activate: (x, activation) => gate(x, null, activation),
  swish: (x, slope) => tf.div(gate(tf.mul(x, slope), null, 'silu'), slope),
  gate(x, up, activation) {
    const halves = joinedProducts([x, up]);
    return halves === undefined ? gate(x, up, activation) : gateHalves(halves, activation);
  },
  normalizeRows(x, residual, {gamma, beta = null}, {addsOne, size = gamma.size, ...settings}) {
    const weights = {gamma: addsOne ? tf.add(gamma, 1) : gamma, beta};
    if (size === x.shape.at(-1)) {
      return normalizeRows(x, residual ?? null, weights, settings);
    }
    const inPieces = (rows: tf.Tensor) => tf.reshape(rows, [-1, size]);
    return tf.reshape(normalizeRows(inPieces(x), residual ? inPieces(residual) : null, weights, settings), x.shape);
  },
  normalizeChannels(x, gamma, beta) {
    const {mean, variance} = tf.moments(x, 1, true);
    return tf.add(tf.mul(tf.sub(x, mean), tf.mul(tf.rsqrt(tf.add(variance, 1e-5)), gamma)), beta);
  },
  norm: (x, axes) => tf.sqrt(tf.maximum(tf.sum(tf.square(x), [...axes], true), LEAST)),
  maxPool: (x, {size, stride, padding}) => tf.maxPool(x as tf.Tensor4D, size, stride, padding, 'floor'),
  resize: (x, height, width) => resizeFeatures(x as tf.Tensor4D, height, width),
  ...{resizeTable: resizeGrid, patchPairs, roll: rolled, padToPieces: paddedToPieces, cropLike: croppedLike},
};

/** Makes the class of a definition. A subclass adds the name that it has in files. */
export function definedLayer<D = unknown, W extends object = object>(definition: Definition<D, W>): LayerClass<D, W> {
  return layerOf(OPS, definition);
}

export function defineLayer<D = unknown, W extends object = object>(
  name: string,
  definition: Definition<D, W>,
): LayerClass<D, W> & {readonly className: string} {
  const Defined = Object.assign(definedLayer(definition), {className: `tfjs-lora/transformers>${name}`});
  registerOwn(Defined);
  return Defined;
}

/** A factor and a summand for each value of the last axis, as normalizations have. */
export function factorAndSummand(
  shape: tf.Shape,
  start: 'ones' | 'zeros' = 'ones',
): Record<'gamma' | 'beta', WeightSpec> {
  const width = [shape.at(-1) ?? null];
  return {gamma: {shape: width, start: tf.initializers[start]()}, beta: {shape: width, start: tf.initializers.zeros()}};
}
