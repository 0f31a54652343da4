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

/** The gradient of `depthToSpace`, which no backend of tfjs has: it moves each value back. */
export const depthToSpaceGradient: tf.GradConfig = {
  kernelName: tf.DepthToSpace,
  gradFunc: (dy, _saved, attrs) => {
    const {blockSize, dataFormat} = attrs as unknown as tf.DepthToSpaceAttrs;
    const gathered = () => {
      if (dataFormat === 'NHWC') {
        return blocksToChannels(dy as tf.Tensor4D, blockSize);
      }
      const last = tf.transpose(dy as tf.Tensor4D, [0, 2, 3, 1]);
      return tf.transpose(blocksToChannels(last, blockSize), [0, 3, 1, 2]);
    };
    return {x: () => tf.tidy(gathered)};
  },
};

/** Makes channels of blocks of pixels. */
function blocksToChannels(y: tf.Tensor4D, size: number): tf.Tensor4D {
  const [rows, height, width, channels] = y.shape;
  const blocks = tf.reshape(y, [rows, height / size, size, width / size, size, channels]);
  const moved = tf.transpose(blocks, [0, 1, 3, 2, 4, 5]);
  return tf.reshape(moved, [rows, height / size, width / size, size * size * channels]);
}
