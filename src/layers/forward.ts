import * as tf from '@tensorflow/tfjs';
import {activate, type Activation, cappedReluGradient, outputActivation, reluGradient} from '../ops/activation';
import {frozenBatchNorm} from '../ops/batchNorm';
import {conv1dOp} from '../ops/conv1d';
import {conv2dOp} from '../ops/conv2d';
import {conv2dTranspose} from '../ops/conv2dTranspose';
import {conv3dOp} from '../ops/conv3d';
import {denseOp} from '../ops/dense';
import {depthwiseConv2d} from '../ops/depthwise';
import {embeddingOp} from '../ops/embedding';
import {asMatrix, type Factors} from '../ops/factors';
import type {Conv2DGeometry} from '../ops/kernels';
import {linear, type LinearWeights} from '../ops/linear';
import type {Linear} from '../ops/linearOp';
import type {Prepared} from '../ops/prepared';
import {onlyShape} from './inputs';
import {
  type BatchNormLayer,
  type ConvLayer,
  type DenseLayer,
  type DepthwiseLayer,
  type EmbeddingLayer,
  fieldsOf,
  type KernelLayer,
  type SeparableLayer,
} from './stock';
import type {CallArgs} from './wrapperLayer';

/**
 * Computes what a stock layer computes, with or without a low-rank update of its kernel, without a gradient for what is frozen.
 */
export type Forward = (layer: tf.layers.Layer, x: tf.Tensor, call: ForwardCall) => tf.Tensor;

/** What a layer is computed with. */
export interface ForwardCall {
  /** The update of its kernel, or `null` for a frozen layer. */
  factors: Factors | null;
  /** What is kept from one call to the next. */
  prepared: Prepared;
  /** The keyword arguments of `call`. */
  kwargs: CallArgs;
}

/** `Dense`: inputs of any rank, the last axis being the features. */
export const denseForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<DenseLayer>(layer);
  // The gradient of tfjs's own product of a higher rank with a matrix has the wrong shape.
  const flat = x.rank === 2 ? x : asMatrix(x);
  const restore = (y: tf.Tensor) => (x.rank === 2 ? y : tf.reshape(y, [...x.shape.slice(0, -1), fields.units]));
  return applyLinear(by(denseOp), flat, fields, {factors, prepared, biasApart: true}, restore);
};

/** `Conv1D`: the stock layer fuses nothing, and answers channels last in any case. */
export const conv1dForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const [[stride = 1], [dilation = 1]] = [fields.strides, fields.dilationRate];
  const op = conv1dOp({stride, padding: fields.padding, dilation});
  const {last} = channelsLast(x, fields);
  return applyLinear(by(op), last, fields, {factors, prepared, biasApart: true, fuses: false}, y => y);
};

/** `Conv2D`: both data formats; as the stock layer, channels-first is transposed before and after. */
export const conv2dForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const op = conv2dOp(conv2dGeometry(fields));
  const {last, restore} = channelsLast(x, fields);
  const {fusesMore} = fusionOf(layer);
  return applyLinear(by(op), last, fields, {factors, prepared, biasApart: false, fusesMore}, restore);
};

/** `Conv2DTranspose`: both data formats. The stock layer fuses nothing, and leaves a dilation rate out of account. */
export const conv2dTransposeForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const geometry = {strides: fields.strides as [number, number], padding: fields.padding};
  const compute: Compute = (input, weights, activation) =>
    conv2dTranspose(input as tf.Tensor4D, weights, geometry, activation);
  const {last, restore} = channelsLast(x, fields);
  return applyLinear(compute, last, fields, {factors, prepared, biasApart: true, fuses: false}, restore);
};

/** `Conv3D`: both data formats. The stock layer fuses nothing, and transposes channels-first inputs as `Conv2D` does. */
export const conv3dForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const op = conv3dOp({
    strides: fields.strides as [number, number, number],
    padding: fields.padding,
    dilations: fields.dilationRate as [number, number, number],
  });
  const {last, restore} = channelsLast(x, fields);
  return applyLinear(by(op), last, fields, {factors, prepared, biasApart: true, fuses: false}, restore);
};

/** `DepthwiseConv2D`: both data formats. The stock layer fuses nothing, and leaves a dilation rate out of account; the fused one does not. */
export const depthwiseConv2dForward: Forward = (layer, x, {factors, prepared}) => {
  const fields = fieldsOf<DepthwiseLayer>(layer);
  const {depthwiseKernel: kernel, bias, activation} = fields;
  const {fusesMore} = fusionOf(layer);
  const geometry = conv2dGeometry(fusesMore ? fields : {...fields, dilationRate: [1, 1]});
  const manner = {fuses: fusesMore, trains: fusesMore && kernel.trainable};
  const compute: Compute = (input, weights, after) =>
    depthwiseConv2d(input as tf.Tensor4D, {...weights, ...manner}, geometry, after);
  const {last, restore} = channelsLast(x, fields);
  const weights = {kernel, bias, activation};
  return applyLinear(
    compute,
    last,
    weights,
    {factors, prepared, biasApart: true, fuses: fusesMore, fusesMore},
    restore,
  );
};

/** `SeparableConv2D`: a depthwise convolution, and one of size 1×1 of its result, which is the one that can have an update. */
export const separableConv2dForward: Forward = (layer, x, {factors, prepared, kwargs}) => {
  const fields = fieldsOf<SeparableLayer>(layer);
  const {depthwiseKernel, pointwiseKernel, bias, activation} = fields;
  if (fields.dataFormat === 'channelsFirst' && bias !== null) {
    // Here the stock layer adds its bias along a wrong axis.
    return layer.apply(x, kwargs) as tf.Tensor;
  }
  const {last, restore} = channelsLast(x, fields);
  const depthwise = {kernel: depthwiseKernel.read(), bias: null, factors: null, trains: depthwiseKernel.trainable};
  const filtered = depthwiseConv2d(asFloat(last) as tf.Tensor4D, depthwise, conv2dGeometry(fields), UNFUSED_IDENTITY);
  const op = conv2dOp({strides: [1, 1], padding: 'valid', dilations: [1, 1]});
  const pointwise = {kernel: pointwiseKernel, bias, activation};
  const manner = {factors, prepared, biasApart: true, fuses: false};
  // The stock layer computes its activation channels last.
  return restore(applyLinear(by(op), filtered, pointwise, manner, y => y));
};

/** `Embedding`: row numbers of any shape. */
export const embeddingForward: Forward = (layer, x, {factors, prepared}) => {
  const kernel = fieldsOf<EmbeddingLayer>(layer).embeddings.read();
  const rows = tf.reshape(x.dtype === 'int32' ? x : tf.cast(x, 'int32'), [x.size, 1]);
  const weights = {kernel, bias: null, biasApart: false, factors, prepared};
  return tf.reshape(
    linear(embeddingOp, rows, weights, UNFUSED_IDENTITY),
    onlyShape(layer.computeOutputShape(x.shape)) as number[],
  );
};

/** `BatchNormalization` by its moving statistics, in training too. */
export const batchNormForward: Forward = (layer, x, {prepared, kwargs}) => {
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

/** `Activation`, where its gradient can be had from its output. */
export const activationForward: Forward = (layer, x) => {
  const {activation} = fieldsOf<Pick<KernelLayer, 'activation'>>(layer);
  const known = outputActivation(activation.getClassName());
  return known === undefined ? activation.apply(x) : activate(x, {...known, apply: z => activation.apply(z)});
};

/** `ReLU`, with a maximum or without. */
export const reluForward: Forward = (layer, x) => {
  const {maxValue} = fieldsOf<{maxValue?: number | null}>(layer);
  return maxValue == null
    ? activate(x, {fused: null, apply: tf.relu, gradient: reluGradient})
    : activate(x, {
        fused: null,
        apply: z => tf.clipByValue(tf.relu(z), 0, maxValue),
        gradient: cappedReluGradient(maxValue),
      });
};

/** Whether a layer is one of ours that computes its bias and activation in one with its convolution, though the stock layer does not. */
function fusionOf(layer: tf.layers.Layer): {fusesMore: boolean} {
  return {fusesMore: fieldsOf<{fuses?: boolean}>(layer).fuses === true};
}

/** How a stock 2-D convolution walks over its input. */
function conv2dGeometry({
  strides,
  padding,
  dilationRate,
}: Pick<ConvLayer, 'strides' | 'padding' | 'dilationRate'>): Conv2DGeometry {
  return {strides: strides as [number, number], padding, dilations: dilationRate as [number, number]};
}

/** An input with its channels last, and what gives a result the format that the layer answers in. */
function channelsLast(
  x: tf.Tensor,
  {dataFormat}: Pick<ConvLayer, 'dataFormat'>,
): {last: tf.Tensor; restore: (y: tf.Tensor) => tf.Tensor} {
  if (dataFormat === 'channelsLast') {
    return {last: x, restore: y => y};
  }
  const space = Array.from({length: x.rank - 2}, (_, i) => i + 1);
  return {
    last: tf.transpose(x, [0, ...space.map(axis => axis + 1), 1]),
    restore: y => tf.transpose(y, [0, x.rank - 1, ...space]),
  };
}

function asFloat(x: tf.Tensor): tf.Tensor {
  return x.dtype === 'float32' ? x : tf.cast(x, 'float32');
}

/** Computes a linear operation with its weights and the activation after it. */
type Compute = (x: tf.Tensor, weights: LinearWeights, activation: Activation) => tf.Tensor;

/** By `linear`. */
function by(op: Linear): Compute {
  return (x, weights, activation) => linear(op, x, weights, activation);
}

/** How a stock layer goes about what it computes. */
interface Manner extends Pick<ForwardCall, 'factors' | 'prepared'> {
  /** As in `LinearWeights`. */
  biasApart: boolean;
  /** Whether it fuses activations. Default: true. */
  fuses?: boolean;
  /** Whether it fuses more of them than a stock layer. Default: false. */
  fusesMore?: boolean;
}

/** A linear operation, the layer's activation, and `restore`, which gives the result the layout that the layer answers in. */
function applyLinear(
  compute: Compute,
  x: tf.Tensor,
  {kernel, bias, activation}: KernelLayer,
  {factors, prepared, biasApart, fuses = true, fusesMore = false}: Manner,
  restore: (y: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const weights = {kernel: kernel.read(), bias: bias?.read() ?? null, biasApart, factors, prepared};
  const input = asFloat(x);
  const known = outputActivation(activation.getClassName());
  if (known !== undefined) {
    const more = fusesMore && activation.getClassName() === 'relu6' ? 'relu6' : known.fused;
    const fused = fuses ? more : null;
    return restore(compute(input, weights, {...known, fused, apply: z => activation.apply(z)}));
  }
  // The activation's gradient needs its input, or it is not elementwise: it stays a step of its own, where the stock layer has it.
  return activation.apply(restore(compute(input, weights, UNFUSED_IDENTITY)));
}

/** Stands for an activation that follows: the stock layer fuses none. */
const UNFUSED_IDENTITY: Activation = {fused: null, gradient: null, apply: z => z};
