import * as tf from '@tensorflow/tfjs';
import {PIXELS, SIDE} from './format';

/** Images with their class indices. */
export interface LabelledImages {
  images: Uint8Array[];
  classes: number[];
}

/** [n, 28, 28, 1], from 0 to 1. */
export function imageTensor(images: readonly Uint8Array[]): tf.Tensor4D {
  const values = new Float32Array(images.length * PIXELS);
  images.forEach((image, i) => values.set(image, i * PIXELS));
  return tf.tidy(() => tf.div<tf.Tensor4D>(tf.tensor4d(values, [images.length, SIDE, SIDE, 1]), 255));
}

/** [n, count], a one in each row. */
export function classTensor(classes: readonly number[], count: number): tf.Tensor2D {
  const values = new Float32Array(classes.length * count);
  classes.forEach((label, i) => (values[i * count + label] = 1));
  return tf.tensor2d(values, [classes.length, count]);
}

/** Reproducible random numbers from 0 to 1. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The images in random order, each shifted by up to two pixels: augmentation for few samples. */
export function shuffledAndShifted({images, classes}: LabelledImages, random: () => number): LabelledImages {
  const order = images.map((_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const offset = () => Math.floor(random() * 5) - 2;
  return {
    images: order.map(i => shifted(images[i]!, offset(), offset())),
    classes: order.map(i => classes[i]!),
  };
}

function shifted(image: Uint8Array, right: number, down: number): Uint8Array {
  const result = new Uint8Array(PIXELS);
  for (let y = Math.max(0, down); y < Math.min(SIDE, SIDE + down); y++) {
    for (let x = Math.max(0, right); x < Math.min(SIDE, SIDE + right); x++) {
      result[y * SIDE + x] = image[(y - down) * SIDE + x - right]!;
    }
  }
  return result;
}
