import * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from '../../backends/shared/geometry';
import {run} from '../../platform/tfjs/engine';
import type {FusedActivation} from './activation';

/** `activation(x ∗ W + b)`: `[n, h, w, in] ∗ [kh, kw, in, out] → [n, h', w', out]`. */
export function fusedConv2d(...call: FusedConvolution): tf.Tensor4D {
  return fusedConvolution(tf.FusedConv2D, ...call);
}

/** `activation(x ∗ W + b)` of a depthwise convolution: `[n, h, w, in] ∗ [kh, kw, in, mult] → [n, h', w', in·mult]`. */
export function fusedDepthwiseConv2d(...call: FusedConvolution): tf.Tensor4D {
  return fusedConvolution(tf.FusedDepthwiseConv2D, ...call);
}

type FusedConvolution = [
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  bias: tf.Tensor | null,
  geometry: ConvSettings,
  activation: FusedActivation,
];

function fusedConvolution(kernel: string, ...[x, filter, bias, geometry, activation]: FusedConvolution): tf.Tensor4D {
  const {strides, padding: pad, dilations} = geometry;
  const inputs = {x, filter, ...(bias && {bias})};
  return run(kernel, inputs, {strides, pad, dataFormat: 'NHWC', dilations, activation}) as tf.Tensor4D;
}

/** The gradient of a convolution without dilation in its input: `[n, h', w', out] → [n, h, w, in]`. */
export function conv2dBackpropInput(
  dy: tf.Tensor4D,
  filter: tf.Tensor4D,
  inputShape: tf.Tensor4D['shape'],
  geometry: ConvSettings,
): tf.Tensor4D {
  return gradient(tf.Conv2DBackpropInput, {dy, filter}, geometry, {dataFormat: 'NHWC', inputShape});
}

/** The gradient of an undilated convolution in its filter: `[n, h, w, in], [n, h', w', out] → [kh, kw, in, out]`. */
export function conv2dBackpropFilter(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  filterShape: tf.Tensor4D['shape'],
  geometry: ConvSettings,
): tf.Tensor4D {
  return gradient(tf.Conv2DBackpropFilter, {x, dy}, geometry, {dataFormat: 'NHWC', filterShape});
}

/** The gradient of a depthwise convolution without dilation in its input: `[n, h', w', in·mult] → [n, h, w, in]`. */
export function depthwiseInputGradient(
  dy: tf.Tensor4D,
  filter: tf.Tensor4D,
  inputShape: tf.Tensor4D['shape'],
  geometry: ConvSettings,
): tf.Tensor4D {
  return gradient(tf.DepthwiseConv2dNativeBackpropInput, {dy, filter}, geometry, {dilations: [1, 1], inputShape});
}

/** The same for a depthwise convolution: `[n, h, w, in], [n, h', w', in·mult] → [kh, kw, in, mult]`. */
export function depthwiseFilterGradient(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  filterShape: tf.Tensor4D['shape'],
  geometry: ConvSettings,
): tf.Tensor4D {
  return gradient(tf.DepthwiseConv2dNativeBackpropFilter, {x, dy}, geometry, {dilations: [1, 1], filterShape});
}

function gradient(
  kernel: string,
  inputs: Record<string, tf.Tensor>,
  {strides, padding: pad}: ConvSettings,
  attributes: object,
): tf.Tensor4D {
  return run(kernel, inputs, {strides, pad, ...attributes}) as tf.Tensor4D;
}
