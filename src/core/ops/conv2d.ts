import * as tf from '@tensorflow/tfjs';
import type {ConvSettings, Shape4D} from '../../backends/shared/geometry';
import {deflate, inflate, inflatedShape} from './dilation';
import {conv2dGradients, fusedConv2d} from './convolutionKernels';
import type {Linear} from './factors';

/**
 * The convolution `x ∗ W`: `[n, h, w, in] ∗ [kh, kw, in, out] → [n, h', w', out]`.
 *
 * tfjs has no gradient for a dilated convolution. The library spreads out the kernel with zeros instead: that has a
 * gradient.
 */
export function conv2dOp(geometry: ConvSettings): Linear {
  const {dilations} = geometry;
  return {
    isByRow: geometry.strides.every(stride => stride === 1),
    forward: (x, kernel, bias, activation) =>
      fusedConv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, bias, geometry, activation),
    inputGradient: (dz, kernel, inputShape) => {
      const filter = inflate(kernel as tf.Tensor4D, dilations);
      return conv2dGradients.input(dz as tf.Tensor4D, filter, inputShape as Shape4D, geometry);
    },
    kernelGradient: (x, dz, kernelShape) => {
      const shape = inflatedShape(kernelShape, dilations);
      return deflate(conv2dGradients.filter(x as tf.Tensor4D, dz as tf.Tensor4D, shape, geometry), dilations);
    },
  };
}
