import * as tf from '@tensorflow/tfjs';
import {run} from '../../platform/tfjs/engine';
import {handOver} from '../../platform/tfjs/handOver';
import type {AdaptedProduct, FusedConvolution, EpilogueGradients, PlainConvolution, Scaling} from './launches';

/** How programs on a graphics card compute a convolution with its epilogue. */
export interface ConvolutionPrograms {
  readonly takesDepthwise: (filter: tf.Tensor4D) => boolean;
  /** A depthwise convolution, and `min(max(z·m + t, 0), cap)` of it. */
  readonly depthwise: (convolution: PlainConvolution, scaling: Scaling, cap: number | undefined) => tf.Tensor;
  /** `min(max(z·m + t, 0), cap)` along the last axis. */
  readonly epilogue: (z: tf.Tensor, scaling: Scaling, cap: number | undefined) => tf.Tensor;
  readonly adaptedProduct: AdaptedProduct;
  readonly epilogues: EpilogueGradients;
}

/** A convolution with its epilogue: by separate programs, or by tfjs's convolution and one program. */
export function convolutionBy(programs: ConvolutionPrograms): FusedConvolution {
  const {takesDepthwise, depthwise, epilogue, adaptedProduct, epilogues} = programs;
  const compute = (convolution: PlainConvolution, {m, t}: Scaling, cap: number | undefined) =>
    tf.tidy(() => {
      const {x, filter, bias, update, strides, padding} = convolution;
      if (!convolution.depthwise && update === undefined) {
        const attributes = {strides, pad: padding, dataFormat: 'NHWC', dilations: [1, 1], activation: 'linear'};
        return epilogue(run(tf.FusedConv2D, {x, filter, ...(bias && {bias})}, attributes), {m, t}, cap);
      }
      const shift = bias === null ? t : tf.add(tf.mul(bias, m), t);
      return update === undefined
        ? depthwise(convolution, {m, t: shift}, cap)
        : adaptedProduct.forward(x, {kernel: filter, ...update}, {m, t: shift, cap});
    });
  return {
    takes: ({x, filter, depthwise: isDepthwise}) => x.dtype === 'float32' && (!isDepthwise || takesDepthwise(filter)),
    normalized: (convolution, scaling) => compute(convolution, scaling, undefined),
    rectified: (convolution, scaling, cap) => {
      const y = compute(convolution, scaling, cap);
      return [y, tf.clone(y)];
    },
    epilogues,
    handOver,
  };
}
