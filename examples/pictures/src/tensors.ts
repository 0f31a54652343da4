import * as tf from '@tensorflow/tfjs';

/** Images as the base's input: `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
export function tensorOf(pictures: readonly HTMLCanvasElement[]): tf.Tensor4D {
  return tf.tidy(() => {
    const pixels = pictures.map(picture => tf.browser.fromPixels(picture)); // whole numbers from 0 to 255
    return tf.div<tf.Tensor4D>(tf.cast(tf.stack(pixels), 'float32'), 255);
  });
}
