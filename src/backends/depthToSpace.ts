import * as tf from '@tensorflow/tfjs';

/**
 * Gives `depthToSpace`, with which upscalers end, a gradient, which tfjs has for none of its backends: it moves each number, so its gradient moves
 * it back. Channels last, as the backends compute it.
 */
export function ensureDepthToSpaceGradient(): void {
  const kernelName = tf.DepthToSpace;
  // tfjs declares it to be always there.
  if ((tf.getGradient(kernelName) as tf.GradConfig | undefined) !== undefined) {
    return;
  }
  tf.registerGradient({
    kernelName,
    gradFunc: (dy, _saved, attrs) => {
      const {blockSize: size} = attrs as unknown as tf.DepthToSpaceAttrs;
      const [rows, height, width, channels] = (dy as tf.Tensor4D).shape;
      const blocks = [rows, height / size, size, width / size, size, channels];
      const gathered = () => tf.transpose(tf.reshape(dy as tf.Tensor, blocks), [0, 1, 3, 2, 4, 5]);
      return {x: () => tf.reshape(gathered(), [rows, height / size, width / size, size * size * channels])};
    },
  });
}
