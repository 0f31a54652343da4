import * as tf from '@tensorflow/tfjs';
import {type ConvSettings, everyNth, type Margin, padOrCrop, withZerosBetween} from './geometry';

export type Triple = [depth: number, height: number, width: number];
type Shape5D = tf.Tensor5D['shape'];

// At each depth of its kernel, a 3-D convolution is a 2-D one, without padding, of every plane of the input that this
// depth meets. Its gradients are sums, or a stack, of those of the 2-D ones.

/** The gradient of the 2-D convolutions in their input, `[n, h, w, in]`. */
type PlaneInputGradient = (dz: tf.Tensor4D, filter: tf.Tensor4D, inputShape: tf.Tensor4D['shape']) => tf.Tensor;

/** The gradient of the 2-D convolutions in their filter, `[kh, kw, in, out]`. */
type PlaneFilterGradient = (x: tf.Tensor4D, dz: tf.Tensor4D, filterShape: tf.Tensor4D['shape']) => tf.Tensor;

/** The gradient in the input, from that of the result: `[n, d', h', w', out] → [n, d, h, w, in]`. */
export function conv3dInputGradient(
  dz: tf.Tensor,
  kernel: tf.Tensor,
  inputShape: number[],
  geometry: ConvSettings<Triple>,
  ofPlanes: PlaneInputGradient,
): tf.Tensor {
  if (dz.size === 0) {
    return tf.zeros(inputShape);
  }
  const {margins, covered} = cover(inputShape, kernel.shape, geometry);
  const [n, , height, width, channels] = covered;
  const images = asImages(dz); // [n·d', h', w', out]
  const ofDepths = depthsOf(kernel).map((filter, i, {length}) => {
    const gradient = ofPlanes(images, filter, [images.shape[0], height, width, channels]);
    const spread = withZerosBetween(
      tf.reshape<tf.Rank.R3>(gradient, [n, -1, height * width * channels]),
      1,
      geometry.strides[0],
    );
    const before = i * geometry.dilations[0];
    const after = (length - 1 - i) * geometry.dilations[0];
    return padOrCrop(spread, [before, after]);
  });
  const gradient = tf.reshape<tf.Rank.R5>(
    ofDepths.reduce((sum, one) => tf.add(sum, one)),
    covered,
  );
  return padOrCrop(gradient, ...margins.map(([before, after]): Margin => [-before, -after]));
}

/** The gradient in a kernel, from that of the result: `[n, d', h', w', out] → [kd, kh, kw, in, out]`. */
export function conv3dFilterGradient(
  x: tf.Tensor,
  dz: tf.Tensor,
  kernelShape: number[],
  geometry: ConvSettings<Triple>,
  ofPlanes: PlaneFilterGradient,
): tf.Tensor {
  if (dz.size === 0) {
    return tf.zeros(kernelShape);
  }
  const {margins} = cover(x.shape, kernelShape, geometry);
  const [depth = 1, ...filterShape] = kernelShape;
  const input = padOrCrop(x, ...margins);
  const images = asImages(dz); // [n·d', h', w', out]
  const ofDepths = Array.from({length: depth}, (_, i) => {
    const met = everyNth(input, 1, i * geometry.dilations[0], dz.shape[1] ?? 1, geometry.strides[0]);
    return ofPlanes(asImages(met), images, filterShape as tf.Tensor4D['shape']);
  });
  return tf.stack(ofDepths);
}

/** The extent of a convolution's windows, and the margins that bring the input to that size. */
function cover(
  input: number[],
  kernel: number[],
  {strides, padding, dilations}: ConvSettings<Triple>,
): {margins: Margin[]; covered: Shape5D} {
  const info = tf.backend_util.computeConv3DInfo(input as Shape5D, kernel as Shape5D, strides, dilations, padding);
  const {front, top, left} = info.padInfo;
  const sizes: Triple = [
    (info.outDepth - 1) * info.strideDepth + info.effectiveFilterDepth,
    (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight,
    (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth,
  ];
  const inputs = [info.inDepth, info.inHeight, info.inWidth];
  const margins = [front, top, left].map((before, i): Margin => [before, (sizes[i] ?? 0) - before - (inputs[i] ?? 0)]);
  return {margins, covered: [info.batchSize, ...sizes, info.inChannels]};
}

/** Every plane as an image: `[n, d, h, w, c] → [n·d, h, w, c]`. */
function asImages(x: tf.Tensor): tf.Tensor4D {
  const [, , height = 1, width = 1, channels = 1] = x.shape;
  return tf.reshape(x, [-1, height, width, channels]);
}

/** The kernel at each of its depths: `[kd, kh, kw, in, out] → kd · [kh, kw, in, out]`. */
function depthsOf(kernel: tf.Tensor): tf.Tensor4D[] {
  const [depth = 1, ...shape] = kernel.shape;
  return tf.split(kernel, depth).map(filter => tf.reshape<tf.Rank.R4>(filter, shape as tf.Tensor4D['shape']));
}
