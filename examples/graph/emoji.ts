import * as tf from '@tensorflow/tfjs';
import {isDistinct, rasterise} from '../shared/drawings';
import type {EmojiSet} from '../shared/emoji';
import {shuffled} from '../shared/random';

/** Width and height of a drawing, in pixels. */
export const SIZE = 96;

/** The classes. Flags are left out, because there are only eight drawings of them. */
export const CATEGORIES = [
  'Activities',
  'Animals & Nature',
  'Food & Drink',
  'Objects',
  'People & Body',
  'Smileys & Emotion',
  'Symbols',
  'Travel & Places',
] as const;

/** Drawings with their categories. */
export interface Drawings {
  /** `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
  images: tf.Tensor4D;
  /** One-hot: `[n, categories]`. */
  labels: tf.Tensor2D;
}

/** Draws two disjoint sets of emoji, the same ones for the same seed. */
export function drawEmoji(
  {icons, categories}: EmojiSet,
  counts: {train: number; test: number},
  seed: number,
): {train: Drawings; test: Drawings} {
  const all = CATEGORIES.flatMap((category, label) =>
    categories[category]!.filter(name => isDistinct(name) && name in icons).map(name => ({name, label})),
  );
  const chosen = shuffled(all, seed);
  const draw = (emoji: typeof all): Drawings =>
    tf.tidy(() => {
      const pixels = emoji.map(({name}) => tf.tensor3d(rasterise(icons[name]!.body, SIZE), [SIZE, SIZE, 3]));
      const labels = tf.tensor1d(emoji.map(({label}) => label), 'int32'); // prettier-ignore
      return {
        images: tf.div<tf.Tensor4D>(tf.stack(pixels), 255),
        labels: tf.oneHot(labels, CATEGORIES.length) as tf.Tensor2D,
      };
    });
  return {
    test: draw(chosen.slice(0, counts.test)),
    train: draw(chosen.slice(counts.test, counts.test + counts.train)),
  };
}
