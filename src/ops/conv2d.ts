import * as tf from '@tensorflow/tfjs';
import {adjointKernel, conv2dInputGradient as convolveWithAdjoint} from '../backends/conv2dGradients';
import {keepsAdjoints} from '../backends/wasm';
import {conv2dFilterGradient, type Conv2DGeometry, conv2dInputGradient, fusedConv2d} from './kernels';
import type {Linear} from './linearOp';

/**
 * The convolution `x ∗ W`: `[n, h, w, in] ∗ [kh, kw, in, out] → [n, h', w', out]`.
 *
 * tfjs has no gradient for a dilated convolution. It is the same as one whose kernel is spread out with zeros, which has.
 */
export function conv2dOp(geometry: Conv2DGeometry): Linear {
  const {dilations} = geometry;
  const dilated = dilations[0] > 1 || dilations[1] > 1;
  const spread = (kernel: tf.Tensor4D) => (dilated ? inflate(kernel, dilations) : kernel);
  return {
    forward: (x, kernel, bias, activation) =>
      fusedConv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, bias, geometry, activation),
    inputGradient: (dz, kernel, inputShape, prepared) => {
      const dy = dz as tf.Tensor4D;
      const shape = inputShape as Shape4D;
      const filter = () => spread(kernel as tf.Tensor4D);
      if (prepared === undefined || !keepsAdjoints()) {
        return conv2dInputGradient(dy, filter(), shape, geometry);
      }
      const [adjoint] = prepared.get([kernel], () => [adjointKernel(filter())] as const);
      return convolveWithAdjoint(dy, adjoint, shape, geometry.strides, geometry.padding);
    },
    kernelGradient: (x, dz, kernelShape) => {
      const [h = 1, w = 1, ...channels] = kernelShape;
      const shape = [reach(h, dilations[0]), reach(w, dilations[1]), ...channels] as Shape4D;
      const gradient = conv2dFilterGradient(x as tf.Tensor4D, dz as tf.Tensor4D, shape, geometry);
      return dilated ? deflate(gradient, dilations) : gradient;
    },
  };
}

type Shape4D = [number, number, number, number];

/** How far a kernel axis of `size` entries reaches when `rate − 1` zeros stand between them. */
function reach(size: number, rate: number): number {
  return (size - 1) * rate + 1;
}

/** `[kh, kw, in, out]` with zeros between the entries. */
function inflate(kernel: tf.Tensor4D, [rateH, rateW]: [number, number]): tf.Tensor4D {
  const [h, w, fanIn, fanOut] = kernel.shape;
  const cells = tf.reshape(kernel, [h, 1, w, 1, fanIn * fanOut]);
  const padded = tf.pad(cells, [
    [0, 0],
    [0, rateH - 1],
    [0, 0],
    [0, rateW - 1],
    [0, 0],
  ]);
  const grid = tf.reshape(padded, [h * rateH, w * rateW, fanIn, fanOut]);
  return tf.slice<tf.Rank.R4, tf.Tensor4D>(
    grid as tf.Tensor4D,
    [0, 0, 0, 0],
    [reach(h, rateH), reach(w, rateW), fanIn, fanOut],
  );
}

/** The entries of an inflated kernel, without the zeros between them. */
function deflate(kernel: tf.Tensor4D, [rateH, rateW]: [number, number]): tf.Tensor4D {
  const [reachH, reachW, fanIn, fanOut] = kernel.shape;
  const h = (reachH - 1) / rateH + 1;
  const w = (reachW - 1) / rateW + 1;
  const grid = tf.pad(kernel, [
    [0, rateH - 1],
    [0, rateW - 1],
    [0, 0],
    [0, 0],
  ]);
  const cells = tf.reshape(grid, [h, rateH, w, rateW, fanIn * fanOut]);
  const entries = tf.slice(cells, [0, 0, 0, 0, 0], [h, 1, w, 1, fanIn * fanOut]);
  return tf.reshape<tf.Rank.R4>(entries, [h, w, fanIn, fanOut]);
}
