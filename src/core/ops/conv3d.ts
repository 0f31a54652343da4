import * as tf from '@tensorflow/tfjs';
import {conv3dFilterGradient, conv3dInputGradient, type Triple} from '../../backends/shared/conv3dGradients';
import type {ConvSettings} from '../../backends/shared/geometry';
import {conv2dOp} from './conv2d';
import {addBias, type Linear} from './factors';
import type {FusedActivation} from './activation';

/**
 * The convolution `x ∗ W`: `[n, d, h, w, in] ∗ [kd, kh, kw, in, out] → [n, d', h', w', out]`.
 *
 * tfjs has no gradients for dilations. These are made of those of 2-D convolutions.
 */
export function conv3dOp(geometry: ConvSettings<Triple>): Linear {
  const {strides, padding, dilations} = geometry;
  const [, ...planeStrides] = strides;
  const [, ...planeDilations] = dilations;
  const planes = conv2dOp({strides: planeStrides, padding: 'valid', dilations: planeDilations});
  return {
    forward: (x, kernel, bias, activation) => {
      const y = tf.conv3d(x as tf.Tensor5D, kernel as tf.Tensor5D, strides, padding, 'NDHWC', dilations);
      return ACTIVATIONS[activation](bias === null ? y : addBias(y, bias));
    },
    inputGradient: (dz, kernel, inputShape) =>
      conv3dInputGradient(dz, kernel, inputShape, geometry, (images, filter, shape) =>
        planes.inputGradient(images, filter, shape),
      ),
    kernelGradient: (x, dz, kernelShape) =>
      conv3dFilterGradient(x, dz, kernelShape, geometry, (images, gradients, shape) =>
        planes.kernelGradient(images, gradients, shape),
      ),
  };
}

/** Activations by themselves: tfjs has no fused kernel for 3-D convolutions. */
const ACTIVATIONS: Readonly<Record<FusedActivation, (z: tf.Tensor) => tf.Tensor>> = {
  linear: z => z,
  relu: tf.relu,
  elu: tf.elu,
  relu6: tf.relu6,
};
