import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch, type OutputActivationName} from '../kernels/capabilities';

// tfjs calls its fused kernels only while no gradient is recorded, and its backward kernels have no public function. An operation with a
// gradient of its own can call both directly: in training it computes what stock layers compute in `predict`, to the last bit.

/** Activations that the fused kernels of every backend know. */
export type FusedActivation = 'linear' | 'relu' | 'elu' | 'relu6';

/** How a 2-D convolution walks over its input, `[n, h, w, c]`. */
export interface Conv2DGeometry {
  strides: [number, number];
  padding: 'valid' | 'same';
  dilations: [number, number];
}

/** `activation(x·W + b)`: `[n, in] · [in, out] → [n, out]`. */
export function fusedMatMul(
  x: tf.Tensor2D,
  kernel: tf.Tensor2D,
  bias: tf.Tensor | null,
  activation: FusedActivation,
): tf.Tensor2D {
  const multiply = (a: tf.Tensor, b: tf.Tensor) =>
    run(
      tf._FusedMatMul,
      {a, b, ...(bias && {bias})},
      {
        transposeA: false,
        transposeB: false,
        activation,
      },
    );
  if (capabilities().launchesOperations) {
    return multiply(x, kernel) as tf.Tensor2D;
  }
  return tf.tidy(() => {
    const y = multiply(tf.reshape(x, [1, ...x.shape]), tf.reshape(kernel, [1, ...kernel.shape]));
    return tf.reshape(y, [x.shape[0], kernel.shape[1]]);
  });
}

/** `op(a)·op(b)` of two matrices by the fastest kernel. The last bits may differ from those of a stock layer's product. */
export function product(a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor2D {
  const byBackend = capabilities().matrixProduct?.(a, b, transposeA, transposeB) as tf.Tensor2D | undefined;
  return byBackend ?? tf.matMul<tf.Tensor2D>(a, b, transposeA, transposeB);
}

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
  geometry: Conv2DGeometry,
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
  {strides, padding}: Conv2DGeometry,
): tf.Tensor4D {
  return run(
    tf.Conv2DBackpropInput,
    {dy, filter},
    {
      strides,
      pad: padding,
      dataFormat: 'NHWC',
      inputShape,
    },
  ) as tf.Tensor4D;
}

/** The gradient of a convolution without dilation in its filter: `[n, h, w, in], [n, h', w', out] → [kh, kw, in, out]`. */
export function conv2dBackpropFilter(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  filterShape: tf.Tensor4D['shape'],
  {strides, padding}: Conv2DGeometry,
): tf.Tensor4D {
  return run(
    tf.Conv2DBackpropFilter,
    {x, dy},
    {
      strides,
      pad: padding,
      dataFormat: 'NHWC',
      filterShape,
    },
  ) as tf.Tensor4D;
}

/** The gradient of a depthwise convolution without dilation in its input: `[n, h', w', in·mult] → [n, h, w, in]`. */
export function depthwiseInputGradient(
  dy: tf.Tensor4D,
  filter: tf.Tensor4D,
  inputShape: tf.Tensor4D['shape'],
  {strides, padding}: Conv2DGeometry,
): tf.Tensor4D {
  return run(
    tf.DepthwiseConv2dNativeBackpropInput,
    {dy, filter},
    {
      strides,
      pad: padding,
      dilations: [1, 1],
      inputShape,
    },
  ) as tf.Tensor4D;
}

/**
 * The gradient of a depthwise convolution without dilation in its filter: `[n, h, w, in], [n, h', w', in·mult] → [kh, kw, in, mult]`.
 */
export function depthwiseFilterGradient(
  x: tf.Tensor4D,
  dy: tf.Tensor4D,
  filterShape: tf.Tensor4D['shape'],
  {strides, padding}: Conv2DGeometry,
): tf.Tensor4D {
  return run(
    tf.DepthwiseConv2dNativeBackpropFilter,
    {x, dy},
    {
      strides,
      pad: padding,
      dilations: [1, 1],
      filterShape,
    },
  ) as tf.Tensor4D;
}

/** The gradient of elu, from its output. */
export function eluGradient(dy: tf.Tensor, y: tf.Tensor): tf.Tensor {
  return run(tf.EluGrad, {dy, y}, {});
}

/** The gradient of an activation from its output: in one launch, or `composed` where the backend has none. */
export function activationGradient(
  name: OutputActivationName,
  composed: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor,
): (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor {
  return (dy, y) => oneLaunch()?.activationGradient?.(name, dy, y) ?? composed(dy, y);
}

/** Launches a kernel that has no public function. */
function run(kernel: string, inputs: Record<string, tf.Tensor>, attributes: object): tf.Tensor {
  return tf.engine().runKernel(kernel, inputs, attributes as tf.NamedAttrMap);
}
