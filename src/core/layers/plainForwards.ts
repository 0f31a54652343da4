import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {
  activate as activateAtOnce,
  type Activation,
  cappedReluGradient,
  outputActivation,
  reluGradient,
  activateAsStock,
} from '../ops/activation';
import {frozenBatchNorm} from '../ops/batchNorm';
import {rectifyChain} from '../ops/convolutionChain';
import {frozenLayerNorm} from '../ops/layerNorm';
import {isRecording} from '../../platform/tfjs/engine';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {BatchNormLayer, KernelLayer, LayerNormLayer, ReluLayer} from '../../platform/tfjs/layerFields';
import type {Forward} from './forward';

/** `BatchNormalization` by its moving statistics, in training too. */
const batchNormForward: Forward = (layer, x, {prepared, kwargs}) => {
  const {axis, epsilon, gamma, beta, movingMean, movingVariance} = fieldsOf<BatchNormLayer>(layer);
  const weights = {
    mean: movingMean.read(),
    variance: movingVariance.read(),
    gamma: gamma?.read() ?? null,
    beta: beta?.read() ?? null,
    epsilon,
  };
  return frozenBatchNorm(x, weights, {
    axis: axis < 0 ? axis + x.rank : axis,
    exact: kwargs.training !== true,
    prepared,
  });
};

/** `LayerNormalization`: the stock layer in predictions; in training, without repeating statistics along the row. */
const layerNormForward: Forward = (layer, x, {kwargs}) => {
  const {axis, epsilon, gamma, beta} = fieldsOf<LayerNormLayer>(layer);
  const isLast = axis.length === 1 && axis[0] === x.rank - 1;
  return kwargs.training === true && isLast
    ? frozenLayerNorm(x, {gamma: gamma?.read() ?? null, beta: beta?.read() ?? null, epsilon})
    : (layer.call(x, kwargs) as tf.Tensor);
};

/** `Activation`, where its gradient needs only its output. */
const activationForward: Forward = (layer, x) => {
  const {activation} = fieldsOf<Pick<KernelLayer, 'activation'>>(layer);
  const name = activation.getClassName();
  const fused = outputActivation(name);
  const apply = (z: tf.Tensor) => activation.apply(z);
  return fused === undefined ? activateAsStock(x, name, apply) : activate(x, {...fused, apply});
};

/** `ReLU`, with a maximum or without. */
const reluForward: Forward = (layer, x) => {
  const {maxValue} = fieldsOf<ReluLayer>(layer);
  return maxValue == null
    ? activate(x, {fused: null, apply: tf.relu, gradient: reluGradient, cap: Infinity})
    : activate(x, {
        fused: null,
        // A kernel launch that changes no value, but keeps NaN on wasm.
        apply: z => tf.clipByValue(isRecording() && capabilities().source === 'programs' ? z : tf.relu(z), 0, maxValue),
        gradient: cappedReluGradient(maxValue),
        cap: maxValue,
      });
};

/** An activation by itself, or with the convolution and the normalization before it. */
function activate(x: tf.Tensor, activation: Activation): tf.Tensor {
  const {cap} = activation;
  const chained = cap === undefined ? undefined : rectifyChain(x, cap);
  return chained ?? activateAtOnce(x, activation);
}

/**
 * A row for each class without an update for which the stock layer is slow or computes needless gradients. Extensions
 * add their own.
 */
export const PLAIN_FORWARDS: Record<string, Forward> = {
  BatchNormalization: batchNormForward,
  LayerNormalization: layerNormForward,
  Activation: activationForward,
  ReLU: reluForward,
};
