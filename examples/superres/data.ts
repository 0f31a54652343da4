import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {Resvg} from '@resvg/resvg-js';
import * as tf from '@tensorflow/tfjs';

/** Width and height of a drawing in full, in pixels; the upscaler sees half of that. */
export const SIZE = 64;

/** Drawings, and what is left of them at half the size. Values are 0–255 RGB. */
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

/** The path of a file in an installed package, wherever the script is started from. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(`../../node_modules/${path}`, import.meta.url));
}

/** Draws two sets of emoji that have no member in common, the same two for the same seed. */
export function loadEmoji(counts: {train: number; test: number}, seed: number): {train: Emoji; test: Emoji} {
  const {icons} = JSON.parse(readFileSync(packageFile('@iconify-json/fluent-emoji-flat/icons.json'), 'utf8')) as {
    icons: Record<string, {body: string}>;
  };
  const names = shuffled(Object.keys(icons).filter(isDistinct).sort(), seed);
  const draw = (chosen: string[]): Emoji => {
    const drawings = chosen.map(name => rasterise(icons[name]!.body, SIZE));
    return tf.tidy(() => {
      const large = tf.stack(drawings.map(rgb => tf.tensor3d(rgb, [SIZE, SIZE, 3]))) as tf.Tensor4D;
      // Each small pixel is the mean of the four that it stands for, as a whole number again.
      return {names: chosen, small: tf.round(tf.avgPool(large, 2, 2, 'valid')), large};
    });
  };
  return {
    test: draw(names.slice(0, counts.test)),
    train: draw(names.slice(counts.test, counts.test + counts.train)),
  };
}

/** Cuts `count` patches out of drawings at random, the same ones for the same seed. */
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

/**
 * Leaves out what repeats another drawing in another skin tone or sex, lest a drawing be held out of which the training set has a
 * twin.
 */
export function isDistinct(name: string): boolean {
  return !/-(?:light|medium|dark)$|^(?:man|woman|men|women)-/.test(name);
}

/** The pixels of an SVG body of 32 × 32 units on white: `size · size · 3` values of 0–255. */
export function rasterise(body: string, size: number): Float32Array {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${body}</svg>`;
  const {pixels} = new Resvg(svg, {
    fitTo: {mode: 'width', value: size},
    background: 'white',
    font: {loadSystemFonts: false},
  }).render();
  // RGBA → RGB
  return Float32Array.from({length: size * size * 3}, (_, i) => pixels[Math.floor(i / 3) * 4 + (i % 3)]!);
}

/** A Fisher–Yates shuffle. */
export function shuffled<T>(items: T[], seed: number): T[] {
  const random = mulberry32(seed);
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

/** A small seeded generator of numbers in [0, 1): Math.random cannot be seeded. */
function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
