import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {deflate, inflate, inflatedShape} from './dilation';
import {conv2dBackpropFilter, type Conv2DGeometry, conv2dBackpropInput, fusedConv2d} from './convolutionKernels';
import type {Linear} from './factors';

/**
 * The convolution `x ∗ W`: `[n, h, w, in] ∗ [kh, kw, in, out] → [n, h', w', out]`.
 *
 * tfjs has no gradient for a dilated convolution. It equals one whose kernel is spread out with zeros, and that has a
 * gradient.
 */
export function conv2dOp(geometry: Conv2DGeometry): Linear {
  const {dilations} = geometry;
  return {
    isByRow: geometry.strides.every(stride => stride === 1),
    forward: (x, kernel, bias, activation) =>
      fusedConv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, bias, geometry, activation),
    inputGradient: (dz, kernel, inputShape, prepared) => {
      const dy = dz as tf.Tensor4D;
      const shape = inputShape as Shape4D;
      const filter = () => inflate(kernel as tf.Tensor4D, dilations);
      const {preparedConvolution} = capabilities();
      if (prepared === undefined || preparedConvolution === undefined) {
        return conv2dBackpropInput(dy, filter(), shape, geometry);
      }
      const [adjoint] = prepared.get([kernel], () => [preparedConvolution.adjointOf(filter())] as const);
      return preparedConvolution.inputGradient(dy, adjoint, shape, geometry.strides, geometry.padding);
    },
    kernelGradient: (x, dz, kernelShape) => {
      const shape = inflatedShape(kernelShape, dilations);
      return deflate(conv2dBackpropFilter(x as tf.Tensor4D, dz as tf.Tensor4D, shape, geometry), dilations);
    },
  };
}

type Shape4D = [number, number, number, number];
