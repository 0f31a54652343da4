import * as tf from '@tensorflow/tfjs';

/**
 * The mean over all images of the peak signal-to-noise ratio in dB, for images `[n, h, w, 3]` of 0–255:
 *
 *     PSNR = 10 · log10(255² / mean squared error)
 *
 * The values are those of a file: integers within 0–255.
 */
export function psnr(images: tf.Tensor4D, truth: tf.Tensor4D): number {
  return tf.tidy(() => {
    const errors = tf.mean(tf.squaredDifference(toBytes(images), truth), [1, 2, 3]); // [n]
    const decibels = tf.mul(10 / Math.LN10, tf.log(tf.div(255 ** 2, errors)));
    return tf.mean(decibels).dataSync()[0]!;
  });
}

/** Rounds and clips to integers within 0–255. */
export function toBytes(images: tf.Tensor4D): tf.Tensor4D {
  return tf.round(tf.clipByValue(images, 0, 255));
}

/**
 * Doubles the size of square images `[n, s, s, 3]` by bicubic interpolation with Keys' kernel (a = −½), as image
 * editors do: the baseline of a trained upscaler.
 *
 *     Y = M · X · Mᵀ      with M [2s, s], four weights a row
 */
export function bicubic(images: tf.Tensor4D): tf.Tensor4D {
  const [n, size, , channels] = images.shape;
  return tf.tidy(() => {
    const weights = bicubicWeights(size); // [2s, s]
    const alongRows = (x: tf.Tensor4D) =>
      tf.reshape(tf.matMul(weights, tf.reshape(x, [size, -1])), [2 * size, ...x.shape.slice(1)]);
    const tall = alongRows(tf.transpose(images, [1, 0, 2, 3])) as tf.Tensor4D; // [2s, n, s, 3]
    const large = alongRows(tf.transpose(tall, [2, 1, 0, 3])) as tf.Tensor4D; // [2s, n, 2s, 3]
    return tf.reshape(tf.transpose(large, [1, 2, 0, 3]), [n, 2 * size, 2 * size, channels]);
  });
}

/**
 * The weights of `size` pixels for each of twice as many. Pixels beyond an edge are those of the edge.
 */
function bicubicWeights(size: number): tf.Tensor2D {
  const weights = tf.buffer<tf.Rank.R2>([2 * size, size]);
  for (let target = 0; target < 2 * size; target++) {
    // Pixels are squares: the centre of target 0 lies a quarter of a pixel before the centre of source 0.
    const centre = (target + 0.5) / 2 - 0.5;
    const first = Math.floor(centre) - 1;
    for (let tap = first; tap < first + 4; tap++) {
      const source = Math.min(size - 1, Math.max(0, tap));
      weights.set(weights.get(target, source) + keys(tap - centre), target, source);
    }
  }
  return weights.toTensor();
}

function keys(x: number): number {
  const d = Math.abs(x);
  return d <= 1 ? 1.5 * d ** 3 - 2.5 * d ** 2 + 1 : d < 2 ? -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 : 0;
}
