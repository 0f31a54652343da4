import * as tf from '@tensorflow/tfjs';
import {adjointKernel, conv2dFilterGradient, conv2dInputGradient} from '../../shared/conv2dGradients';
import {depthwiseConv2dFilterGradient, depthwiseConv2dInputGradient} from '../../shared/depthwiseGradients';
import {
  axisOf,
  behind,
  type ConvolutionAttributes,
  geometryOf,
  isCountedByPads,
  type Padding,
  padOrCrop,
} from '../../shared/geometry';
import {withExactActivation} from './pointwise';
import {newKernel, wrappedKernel} from '../../shared/kernel';
import type {OwnKernel} from '../../shared/registration';
import {isTakingGradient} from '../../../platform/tfjs/engine';

const conv2dBackpropFilter = newKernel<Record<'x' | 'dy', tf.Tensor4D>, tf.Conv2DBackpropFilterAttrs>(
  tf.Conv2DBackpropFilter,
  ({inputs: {x, dy}, attrs}) =>
    tf.tidy(() => {
      const channelsLast = (image: tf.Tensor4D): tf.Tensor4D =>
        attrs.dataFormat === 'NCHW' ? tf.transpose(image, [0, 2, 3, 1]) : image;
      return conv2dFilterGradient(channelsLast(x), channelsLast(dy), attrs.filterShape, attrs);
    }),
);

const conv2dBackpropInput = wrappedKernel<Record<'dy' | 'filter', tf.Tensor4D>, tf.Conv2DBackpropInputAttrs>(
  tf.Conv2DBackpropInput,
  stock => call => {
    const {
      inputs: {dy, filter},
      attrs,
    } = call;
    const {inputShape, dataFormat} = attrs;
    if (dataFormat === 'NCHW') {
      return stock(call);
    }
    const missing = inputShape[0] - dy.shape[0];
    if (missing !== 0) {
      return ofOtherBatch(dy, filter, attrs, missing);
    }
    const {height, width} = geometryOf(inputShape, filter.shape, attrs);
    if (dy.shape[1] !== height.output || dy.shape[2] !== width.output) {
      // `tf.conv2dTranspose` takes any output shape, also one whose convolution has another size than `dy`.
      return stock(call);
    }
    if (filter.shape[2] === 1 && filter.shape[3] === 1 && !isTakingGradient()) {
      // From one channel to one, the backend's convolutions sum down the columns, and its gradient does not.
      return stock(call);
    }
    return tf.tidy(() => conv2dInputGradient(dy, adjointKernel(filter), inputShape, attrs));
  },
);

const depthwiseBackpropFilter = newKernel<Record<'x' | 'dy', tf.Tensor4D>, tf.DepthwiseConv2dNativeBackpropFilterAttrs>(
  tf.DepthwiseConv2dNativeBackpropFilter,
  ({inputs: {x, dy}, attrs}) => depthwiseConv2dFilterGradient(x, dy, attrs.filterShape, attrs),
);

const depthwiseBackpropInput = newKernel<
  Record<'dy' | 'filter', tf.Tensor4D>,
  tf.DepthwiseConv2dNativeBackpropInputAttrs
>(tf.DepthwiseConv2dNativeBackpropInput, ({inputs: {dy, filter}, attrs}) =>
  depthwiseConv2dInputGradient(dy, filter, attrs.inputShape, attrs),
);

/**
 * `tf.conv2dTranspose` takes an output of another batch size. Images that the input lacks are NaN, as on cpu; the
 * backend reads beyond the images.
 */
function ofOtherBatch(
  dy: tf.Tensor4D,
  filter: tf.Tensor4D,
  attrs: tf.Conv2DBackpropInputAttrs,
  missing: number,
): tf.TensorInfo {
  const {inputShape} = attrs;
  if (inputShape[0] === 0) {
    return tf.zeros(inputShape);
  }
  return tf.tidy(() => {
    const images = tf.slice(dy, 0, Math.min(dy.shape[0], inputShape[0]));
    const batch =
      missing > 0
        ? tf.concat([images, tf.fill<tf.Rank.R4>([missing, dy.shape[1], dy.shape[2], dy.shape[3]], NaN)])
        : images;
    return tf.engine().runKernel(tf.Conv2DBackpropInput, {dy: batch, filter}, {...attrs});
  });
}

/** The gradients of convolutions. */
export const convolutionKernels: readonly OwnKernel[] = [
  conv2dBackpropFilter,
  conv2dBackpropInput,
  depthwiseBackpropFilter,
  depthwiseBackpropInput,
  ...[tf.Conv2D, tf.FusedConv2D].map(name => forwardKernel(name, false)),
  ...[tf.DepthwiseConv2dNative, tf.FusedDepthwiseConv2D].map(name => forwardKernel(name, true)),
];

interface Convolved {
  readonly x: tf.Tensor4D;
  readonly filter: tf.Tensor4D;
  readonly bias?: tf.Tensor | null;
  readonly preluActivationWeights?: tf.Tensor | null;
}

/**
 * A convolution by the backend's own kernel, with four corrections. Where the result is empty, the backend's writes
 * beyond it. Where padding 'same' leaves inputs unread, since a kernel is smaller than its stride, XNNPACK computes a
 * negative padding, and zeros; there the same padding is given in numbers. Where it would count
 * other windows than tfjs, and write beyond the result, images are padded before. And NaN passes a relu.
 */
function forwardKernel(name: string, depthwise: boolean): OwnKernel {
  return wrappedKernel<Convolved, ConvolutionAttributes & {readonly activation?: string}>(name, original => call => {
    const stock = withExactActivation(original);
    const {x, filter, bias} = call.inputs;
    const {strides, dilations, pad, dimRoundingMode, dataFormat} = call.attrs;
    if (dataFormat === 'NCHW' && depthwise) {
      // The backend takes the columns for channels, and reads beyond the kernel.
      throw new Error(`wasm backend ${name} does not support dataFormat:'NCHW'. Please use 'NHWC'.`);
    }
    if (dataFormat === 'NCHW') {
      return stock(call); // refuses it
    }
    const info = tf.backend_util.computeConv2DInfo(
      ...([x.shape, filter.shape, strides, dilations ?? 1, pad, dimRoundingMode, depthwise] as const),
    );
    if (bias != null && (bias.rank !== 1 || bias.size !== info.outChannels)) {
      return stock(call); // refuses it
    }
    if (info.outShape.includes(0)) {
      return call.backend.makeOutput(info.outShape, x.dtype);
    }
    tf.util.assertNonNegativeIntegerDimensions(info.outShape);
    if (pad !== 'same' && !isCountedByPads(info)) {
      return tf.tidy(() =>
        tf
          .engine()
          .runKernel(
            name,
            {...call.inputs, x: withPads(x, info)} as unknown as tf.NamedTensorMap,
            {...call.attrs, pad: 'valid'} as unknown as tf.NamedAttrMap,
          ),
      );
    }
    const unread =
      (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight < info.inHeight ||
      (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth < info.inWidth;
    if (pad !== 'same' || !unread) {
      return stock(call);
    }
    const {top, bottom, left, right} = info.padInfo;
    const inNumbers: Padding = [
      [0, 0],
      [top, bottom],
      [left, right],
      [0, 0],
    ];
    return stock({...call, attrs: {...call.attrs, pad: inNumbers}});
  });
}

/** Images with all zeros around them that windows read, and without the pixels that none reads. */
function withPads(x: tf.Tensor4D, info: tf.backend_util.Conv2DInfo): tf.Tensor4D {
  const {top, left} = info.padInfo;
  const rows = {...axisOf(info, 'Height', top), kernel: info.effectiveFilterHeight};
  const columns = {...axisOf(info, 'Width', left), kernel: info.effectiveFilterWidth};
  return padOrCrop(x, [top, behind(rows)], [left, behind(columns)]);
}
