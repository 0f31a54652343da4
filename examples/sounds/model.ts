import * as tf from '@tensorflow/tfjs';
import {logMel, type Sound} from 'tfjs-lora/sound';

/** Frames and mel filters of one second. */
export const [FRAMES, MELS] = [98, 40];
/** Frames a second. */
export const FRAME_RATE = 100;

/** Log-mel frames of any sound, `[frames, mels]`, about from −1 to 1. */
export function framesOf(sound: Sound): tf.Tensor2D {
  return tf.tidy(() => {
    const logs = logMel(sound, {mels: MELS, minFrequency: 60, maxFrequency: 7600, padding: 'none', floor: 1e-6});
    return tf.div(tf.add(logs, 7), 6);
  });
}

/** The spectrograms of clips of one second, `[clips, frames, mels, 1]`. */
export function encode(clips: readonly Sound[]): tf.Tensor4D {
  return tf.tidy(() => tf.expandDims<tf.Tensor4D>(tf.stack(clips.map(framesOf)), 3));
}

/** Frames with one byte for each value, which a small file holds. */
export function bytesOf(frames: tf.Tensor2D): Uint8Array {
  return tf.tidy(() => Uint8Array.from(tf.clipByValue(tf.round(tf.mul(tf.add(frames, 1.2), 80)), 0, 255).dataSync()));
}

/** The frames in a file of bytes. */
export function framesFrom(bytes: Uint8Array): tf.Tensor2D {
  return tf.tidy(() => tf.sub(tf.div(tf.tensor2d(bytes, [bytes.length / MELS, MELS], 'float32'), 80), 1.2));
}

/** A convolutional network for words: four convolutions, and an embedding of 64 values that the last layer reads. */
export function newBase(classes: number): tf.Sequential {
  const convolution = (filters: number, name: string, strides: [number, number], first = {}) =>
    tf.layers.conv2d({filters, kernelSize: 3, strides, padding: 'same', activation: 'relu', name, ...first});
  return tf.sequential({
    layers: [
      convolution(16, 'conv1', [2, 2], {inputShape: [FRAMES, MELS, 1]}),
      convolution(32, 'conv2', [2, 2]),
      convolution(48, 'conv3', [2, 2]),
      convolution(64, 'conv4', [2, 2]),
      tf.layers.flatten({name: 'flat'}),
      tf.layers.dropout({rate: 0.2, name: 'dropout'}),
      tf.layers.dense({units: 64, activation: 'relu', name: 'embedding'}),
      tf.layers.dense({units: classes, activation: 'softmax', name: 'words'}),
    ],
  });
}
