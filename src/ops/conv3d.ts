import * as tf from '@tensorflow/tfjs';
import {everyNth, type Margin, padOrCrop} from '../backends/geometry';
import {conv2dOp} from './conv2d';
import type {FusedActivation} from './kernels';
import type {Linear} from './linearOp';

/** How a 3-D convolution walks over its input, `[n, d, h, w, c]`. */
export interface Conv3DGeometry {
  strides: Triple;
  padding: 'valid' | 'same';
  dilations: Triple;
}

type Triple = [depth: number, height: number, width: number];
type Shape5D = tf.Tensor5D['shape'];

/**
 * The convolution `x ∗ W`: `[n, d, h, w, in] ∗ [kd, kh, kw, in, out] → [n, d', h', w', out]`.
 *
 * The gradients that tfjs has are wrong on wasm, and it has none for dilations. These are sums over the depths of the kernel: at each,
 * a 3-D convolution is a 2-D one of every plane of the input that this depth meets.
 */
export function conv3dOp({strides, padding, dilations}: Conv3DGeometry): Linear {
  const [strideD, strideH, strideW] = strides;
  const [dilationD, dilationH, dilationW] = dilations;
  const planes = conv2dOp({strides: [strideH, strideW], padding: 'valid', dilations: [dilationH, dilationW]});
  const coverOf = (input: number[], kernel: number[]) => cover(input, kernel, {strides, padding, dilations});
  return {
    forward: (x, kernel, bias, activation) => {
      const y = tf.conv3d(x as tf.Tensor5D, kernel as tf.Tensor5D, strides, padding, 'NDHWC', dilations);
      return ACTIVATIONS[activation](bias === null ? y : tf.add(y, bias));
    },
    inputGradient: (dz, kernel, inputShape) => {
      const {margins, covered} = coverOf(inputShape, kernel.shape);
      const [n, , height, width, channels] = covered;
      const images = asImages(dz); // [n·d', h', w', out]
      const ofDepths = depthsOf(kernel).map((filter, i, {length}) => {
        const gradient = planes.inputGradient(images, filter, [images.shape[0], height, width, channels]);
        const spread = spreadDepths(tf.reshape(gradient, [n, -1, height * width * channels]), strideD);
        return tf.pad(spread, [
          [0, 0],
          [i * dilationD, (length - 1 - i) * dilationD],
          [0, 0],
        ]);
      });
      const gradient = tf.reshape<tf.Rank.R5>(
        ofDepths.reduce((sum, one) => tf.add(sum, one)),
        covered,
      );
      return padOrCrop(gradient, ...margins.map(([before, after]): Margin => [-before, -after]));
    },
    kernelGradient: (x, dz, kernelShape) => {
      const {margins} = coverOf(x.shape, kernelShape);
      const [depth = 1, ...filterShape] = kernelShape;
      const input = padOrCrop(x, ...margins);
      const images = asImages(dz); // [n·d', h', w', out]
      const ofDepths = Array.from({length: depth}, (_, i) => {
        const met = everyNth(input, 1, i * dilationD, dz.shape[1] ?? 1, strideD);
        return planes.kernelGradient(asImages(met), images, filterShape);
      });
      return tf.stack(ofDepths);
    },
  };
}

/** Activations by themselves: tfjs has no fused kernel for 3-D convolutions. */
const ACTIVATIONS: Readonly<Record<FusedActivation, (z: tf.Tensor) => tf.Tensor>> = {
  linear: z => z,
  relu: tf.relu,
  elu: tf.elu,
};

/** What the windows of a convolution cover, and what has to stand around the input to make it just that. */
function cover(
  input: number[],
  kernel: number[],
  {strides, padding, dilations}: Conv3DGeometry,
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
function depthsOf(kernel: tf.Tensor): tf.Tensor[] {
  const [depth = 1, ...shape] = kernel.shape;
  return tf.split(kernel, depth).map(filter => tf.reshape(filter, shape));
}

/** `[n, d, c]` with `step − 1` planes of zeros between the planes. */
function spreadDepths(x: tf.Tensor3D, step: number): tf.Tensor3D {
  if (step === 1) {
    return x;
  }
  const [n, depth, size] = x.shape;
  const spread = tf.pad(tf.reshape(x, [n, depth, 1, size]), [
    [0, 0],
    [0, 0],
    [0, step - 1],
    [0, 0],
  ]);
  return tf.slice(
    tf.reshape<tf.Rank.R3>(spread, [n, depth * step, size]),
    [0, 0, 0],
    [n, (depth - 1) * step + 1, size],
  );
}
