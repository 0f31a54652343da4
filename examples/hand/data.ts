import * as tf from '@tensorflow/tfjs';
import {mulberry32} from '../shared/random';
import {type LookName, picture, pictureOfGround, randomPose, SIDE} from './looks';
import {landmarksOf} from './skeleton';

/** Images and their landmarks. */
export interface Frames {
  /** `[n, SIDE, SIDE, 3]`, values from 0 to 1. */
  xs: tf.Tensor4D;
  /** `[n, 63]`: x, y, and z of each landmark, in pixels; NaN if there is no hand. */
  ys: tf.Tensor2D;
}

/** Draws frames with known landmarks, the same ones for the same seed. */
export function drawFrames(count: number, look: LookName, seed: number): Frames {
  const random = mulberry32(seed);
  const poses = Array.from({length: count}, () => randomPose(random));
  const ys = tf.tensor2d(poses.map(pose => landmarksOf(pose).flat()));
  const pixels = poses.map(pose => picture(pose, look, random));
  return {xs: picturesOf(pixels), ys};
}

/** Frames without a hand: only the background. */
export function drawGrounds(count: number, look: LookName, seed: number): Frames {
  const random = mulberry32(seed);
  const pixels = Array.from({length: count}, () => pictureOfGround(look, random));
  return {xs: picturesOf(pixels), ys: tf.fill([count, 63], NaN)};
}

/** Concatenates frames, and disposes of the parts. */
export function together(...frames: readonly Frames[]): Frames {
  const all = {xs: tf.concat(frames.map(({xs}) => xs)), ys: tf.concat(frames.map(({ys}) => ys))};
  tf.dispose(frames.flatMap(({xs, ys}) => [xs, ys]));
  return all;
}

/** Pixels as the model's input. */
export function picturesOf(pixels: readonly Uint8Array[]): tf.Tensor4D {
  return tf.tidy(() =>
    tf.div<tf.Tensor4D>(tf.stack(pixels.map(each => tf.tensor3d(each, [SIDE, SIDE, 3], 'float32'))), 255),
  );
}
