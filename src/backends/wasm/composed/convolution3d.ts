import * as tf from '@tensorflow/tfjs';
import {adjointKernel, conv2dFilterGradient, conv2dInputGradient} from '../../shared/conv2dGradients';
import {conv3dFilterGradient, conv3dInputGradient, type Triple} from '../../shared/conv3dGradients';
import type {ConvSettings} from '../../shared/geometry';
import type {OwnKernel} from '../../shared/registration';
import {wrappedKernel} from '../../shared/kernel';

interface Attributes {
  readonly strides: number | Triple;
  readonly pad: 'valid' | 'same';
}

/** The gradient of a 3-D convolution in its input, also a transposed convolution. The backend's own is wrong. */
const conv3dBackpropInput = wrappedKernel<
  Record<'dy' | 'filter', tf.Tensor5D>,
  Attributes & Pick<tf.Conv3DBackpropInputV2Attrs, 'inputShape'>
>(tf.Conv3DBackpropInputV2, stock => call => {
  const {
    inputs: {dy, filter},
    attrs,
  } = call;
  const geometry = geometryOf(attrs);
  const [, ...strides] = geometry.strides;
  const {outShape} = tf.backend_util.computeConv3DInfo(attrs.inputShape, filter.shape, attrs.strides, 1, attrs.pad);
  if (dy.shape.some((size, i) => size < (outShape[i] as number))) {
    return stock(call);
  }
  return tf.tidy(() =>
    conv3dInputGradient(cropTo(dy, outShape), filter, attrs.inputShape, geometry, (images, taps, shape) =>
      conv2dInputGradient(images, adjointKernel(taps), shape, {strides, pad: 'valid'}),
    ),
  );
});

/** `tf.conv3dTranspose` may have an output whose convolution is smaller than `dy`. The rest of `dy` is not read. */
function cropTo(dy: tf.Tensor5D, shape: [number, number, number, number, number]): tf.Tensor5D {
  return dy.shape.every((size, i) => size === shape[i]) ? dy : tf.slice(dy, [0, 0, 0, 0, 0], shape);
}

/** The gradient of a 3-D convolution in its filter. The backend's own is wrong with strides. */
const conv3dBackpropFilter = wrappedKernel<
  Record<'x' | 'dy', tf.Tensor5D>,
  Attributes & Pick<tf.Conv3DBackpropFilterV2Attrs, 'filterShape'>
>(tf.Conv3DBackpropFilterV2, () => ({inputs: {x, dy}, attrs}) => {
  const geometry = geometryOf(attrs);
  const [, ...strides] = geometry.strides;
  return tf.tidy(() =>
    conv3dFilterGradient(x, dy, attrs.filterShape, geometry, (images, gradients, shape) =>
      conv2dFilterGradient(images, gradients, shape, {strides, pad: 'valid'}),
    ),
  );
});

/** The gradients of 3-D convolutions. */
export const convolution3dKernels: readonly OwnKernel[] = [conv3dBackpropInput, conv3dBackpropFilter];

function geometryOf({strides, pad}: Attributes): ConvSettings<Triple> {
  return {
    strides: typeof strides === 'number' ? [strides, strides, strides] : strides,
    padding: pad,
    dilations: [1, 1, 1],
  };
}
