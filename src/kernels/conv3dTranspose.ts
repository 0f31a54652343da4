import * as tf from '@tensorflow/tfjs';

type Attributes = Pick<tf.Conv3DBackpropInputV2Attrs, 'pad'> & {strides: number | [number, number, number]};

/**
 * The gradient of transposed 3-D convolutions, `x ∗ᵀ W`, which tfjs has on no backend. In `x` it is the convolution
 * with `W`; in `W` it is the filter gradient of a convolution whose input has the shape of the result.
 */
export const conv3dTransposeGradient: tf.GradConfig = {
  kernelName: tf.Conv3DBackpropInputV2,
  inputsToSave: ['dy', 'filter'],
  gradFunc: (dy, saved, attrs) => {
    const image = dy as tf.Tensor5D;
    const [x, filter] = saved as [tf.Tensor5D, tf.Tensor5D];
    const {strides, pad} = attrs as unknown as Attributes;
    return {
      dy: () => tf.conv3d(image, filter, strides, pad),
      filter: () =>
        tf.engine().runKernel(
          tf.Conv3DBackpropFilterV2,
          {x: image, dy: x},
          {
            strides,
            pad,
            filterShape: filter.shape,
          },
        ),
    };
  },
};
