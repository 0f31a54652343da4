import type * as tf from '@tensorflow/tfjs';
import {deferConvolution} from '../ops/convolutionChain';
import type {Conv2DGeometry} from '../ops/kernels';
import type {Prepared} from '../ops/lazyOp';
import type {LinearWeights} from '../ops/linear';
import type {ConvLayer} from '../tfjs/fields';

/** Lets a convolution without an activation be computed with the normalization and the relu that follow, in training. */
export function deferral(
  owner: Prepared,
  {activation, dataFormat}: Pick<ConvLayer, 'activation' | 'dataFormat'>,
  geometry: Conv2DGeometry,
  depthwise: boolean,
): LinearWeights['defer'] {
  return dataFormat === 'channelsLast' && activation.getClassName() === 'linear'
    ? (x, filter, bias) =>
        deferConvolution(owner, {x: x as tf.Tensor4D, filter: filter as tf.Tensor4D, bias, depthwise}, geometry)
    : undefined;
}
