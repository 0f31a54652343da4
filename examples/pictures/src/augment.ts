import * as tf from '@tensorflow/tfjs';

/**
 * Augments images: mirrored or not, cropped, and lighter or darker, at random. All of it runs on the backend of the
 * tensors, also on a graphics card.
 *
 * @param images `[n, size, size, 3]`, values from 0 to 1.
 * @returns the images, followed by `copies` augmented ones of each.
 */
export function augment(images: tf.Tensor4D, copies: number, seed: number): tf.Tensor4D {
  return tf.tidy(() => {
    const [count, height, width] = images.shape;
    const rows = tf.range(0, count, 1, 'int32');
    const altered = Array.from({length: copies}, (_, copy) => {
      const random = (columns: number, low: number, high: number, of: number) =>
        tf.randomUniform<tf.Rank.R2>([count, columns], low, high, 'float32', 7 * (seed + 100 * copy) + of);
      // A square of 80 to 100 % of the side, anywhere: [y1, x1, y2, x2].
      const side = random(1, 0.8, 1, 1);
      const corner = tf.mul(random(2, 0, 1, 2), tf.sub(1, side));
      const [top, left] = tf.split(corner, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
      const [bottom, right] = [tf.add<tf.Tensor2D>(top, side), tf.add<tf.Tensor2D>(left, side)];
      const isMirrored = tf.less(random(1, 0, 1, 3), 0.5);
      const boxes = tf.concat2d([top, tf.where(isMirrored, right, left), bottom, tf.where(isMirrored, left, right)], 1);
      const cropped = tf.image.cropAndResize(images, boxes, rows, [height, width]);
      return tf.clipByValue(tf.mul(cropped, tf.reshape(random(1, 0.8, 1.2, 4), [count, 1, 1, 1])), 0, 1);
    });
    return tf.concat<tf.Tensor4D>([images, ...(altered as tf.Tensor4D[])]);
  });
}
