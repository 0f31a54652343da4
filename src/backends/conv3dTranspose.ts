import * as tf from '@tensorflow/tfjs';

type Attributes = Pick<tf.Conv3DBackpropInputV2Attrs, 'pad'> & {strides: number | [number, number, number]};

/**
 * Gives transposed 3-D convolutions, `x ∗ᵀ W`, a gradient, which tfjs has for none of its backends: in `x` the convolution with `W`, in `W`
 * that of a convolution that has the result for its input.
 */
export function ensureConv3dTransposeGradient(): void {
  const kernelName = tf.Conv3DBackpropInputV2;
  // tfjs declares it to be always there.
  if ((tf.getGradient(kernelName) as tf.GradConfig | undefined) !== undefined) {
    return;
  }
  tf.registerGradient({
    kernelName,
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
  });
}
