import * as tf from '@tensorflow/tfjs';
import type {ConvSettings, Shape4D} from '../../backends/shared/geometry';
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

/** The gradients of convolutions without dilation. */
export const conv2dGradients = /* @__PURE__ */ gradientsBy(tf.Conv2DBackpropInput, tf.Conv2DBackpropFilter, {
  dataFormat: 'NHWC',
});

/** The gradients of undilated depthwise convolutions: `out` is `in·mult`, and the filter `[kh, kw, in, mult]`. */
export const depthwiseGradients = /* @__PURE__ */ gradientsBy(
  tf.DepthwiseConv2dNativeBackpropInput,
  tf.DepthwiseConv2dNativeBackpropFilter,
  {dilations: [1, 1]},
);

function gradientsBy(inputKernel: string, filterKernel: string, attributes: object) {
  return {
    /** `[n, h', w', out] → [n, h, w, in]` */
    input: (dy: tf.Tensor4D, filter: tf.Tensor4D, inputShape: Shape4D, {strides, padding: pad}: ConvSettings) =>
      run(inputKernel, {dy, filter}, {strides, pad, inputShape, ...attributes}) as tf.Tensor4D,
    /** `[n, h, w, in], [n, h', w', out] → [kh, kw, in, out]` */
    filter: (x: tf.Tensor4D, dy: tf.Tensor4D, filterShape: Shape4D, {strides, padding: pad}: ConvSettings) =>
      run(filterKernel, {x, dy}, {strides, pad, filterShape, ...attributes}) as tf.Tensor4D,
  };
}
