import * as tf from '@tensorflow/tfjs';

/**
 * The gradient of `depthToSpace`, the last step of upscalers, which tfjs has on no backend. The operation moves each
 * number; its gradient moves it back.
 */
export const depthToSpaceGradient: tf.GradConfig = {
  kernelName: tf.DepthToSpace,
  gradFunc: (dy, _saved, attrs) => {
    const {blockSize, dataFormat} = attrs as unknown as tf.DepthToSpaceAttrs;
    const gathered = () => {
      if (dataFormat === 'NHWC') {
        return gather(dy as tf.Tensor4D, blockSize);
      }
      const last = tf.transpose(dy as tf.Tensor4D, [0, 2, 3, 1]);
      return tf.transpose(gather(last, blockSize), [0, 3, 1, 2]);
    };
    return {x: () => tf.tidy(gathered)};
  },
};

/** Makes channels of blocks of pixels. */
function gather(y: tf.Tensor4D, size: number): tf.Tensor4D {
  const [rows, height, width, channels] = y.shape;
  const blocks = tf.reshape(y, [rows, height / size, size, width / size, size, channels]);
  const moved = tf.transpose(blocks, [0, 1, 3, 2, 4, 5]);
  return tf.reshape(moved, [rows, height / size, width / size, size * size * channels]);
}
