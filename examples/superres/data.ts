import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {isDistinct, rasterise} from '../shared/drawings';
import {packageFile} from '../shared/packages';
import {mulberry32, shuffled} from '../shared/random';

/** Width and height of a drawing in pixels. The upscaler gets half of that. */
export const SIZE = 64;

/** Drawings, and the same at half the size. Values are 0–255 RGB. */
export interface Emoji {
  names: string[];
  /** `[n, 32, 32, 3]` */
  small: tf.Tensor4D;
  /** `[n, 64, 64, 3]` */
  large: tf.Tensor4D;
}

/** Pieces of drawings to train on: `count` pairs of `[16, 16, 3]` and `[32, 32, 3]`. */
export interface Patches {
  small: tf.Tensor4D;
  large: tf.Tensor4D;
}

/** Draws two disjoint sets of emoji, the same ones for the same seed. */
export function loadEmoji(counts: {train: number; test: number}, seed: number): {train: Emoji; test: Emoji} {
  const {icons} = JSON.parse(readFileSync(packageFile('@iconify-json/fluent-emoji-flat/icons.json'), 'utf8')) as {
    icons: Record<string, {body: string}>;
  };
  const names = shuffled(Object.keys(icons).filter(isDistinct).sort(), seed);
  const draw = (chosen: string[]): Emoji => {
    const drawings = chosen.map(name => rasterise(icons[name]!.body, SIZE));
    return tf.tidy(() => {
      const large = tf.stack(drawings.map(rgb => tf.tensor3d(rgb, [SIZE, SIZE, 3]))) as tf.Tensor4D;
      // Each small pixel is the mean of four pixels, rounded to an integer.
      return {names: chosen, small: tf.round(tf.avgPool(large, 2, 2, 'valid')), large};
    });
  };
  return {
    test: draw(names.slice(0, counts.test)),
    train: draw(names.slice(counts.test, counts.test + counts.train)),
  };
}

/** Cuts `count` random patches out of drawings, the same ones for the same seed. */
export function cutPatches({small, large}: Emoji, count: number, seed: number): Patches {
  const random = mulberry32(seed);
  const below = (n: number) => Math.floor(random() * n);
  const side = SIZE / 4;
  const corners = Array.from({length: count}, () => [
    below(small.shape[0]),
    below(SIZE / 2 - side + 1),
    below(SIZE / 2 - side + 1),
  ]);
  const cut = (images: tf.Tensor4D, scale: number) =>
    tf.tidy(() =>
      tf.concat(
        corners.map(([i = 0, y = 0, x = 0]) =>
          tf.slice(images, [i, y * scale, x * scale, 0], [1, side * scale, side * scale, 3]),
        ),
      ),
    );
  return {small: cut(small, 1), large: cut(large, 2)};
}
