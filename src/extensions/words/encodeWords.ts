import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError} from '../../platform/errors';
import {logMel} from '../sound/logMel';
import {checkSound, type Sound} from '../sound/sound';

/** Samples a second, samples of a frame, and from one frame to the next. */
const [RATE, WINDOW, HOP] = [16_000, 400, 160];
/** Frames of one second. */
const FRAMES = 98;

/**
 * Computes the features of a sound of any length: the logarithms of 40 mel energies from 60 to 7,600 Hz, at least 1e-6,
 * a hundred times a second. `(x + 7) / 6` brings them to about −1 to 1.
 *
 * @param sound samples with their rate, such as `readSound` returns.
 * @returns `[frames, 40]`. Each window of 98 frames is an input of the base. Dispose of it after use.
 * @throws LoRAError `ERR_OPTION` if it is no sound; `ERR_MISFIT` if it is shorter than a frame, 25 ms.
 * @example
 *     const frames = wordFrames(await readSound('lecture.wav'));
 *     const window = tf.reshape(tf.slice(frames, [0, 0], [98, 40]), [1, 98, 40, 1]);
 * @experimental
 */
export function wordFrames(sound: Sound): tf.Tensor2D {
  return tf.tidy(() => {
    const options = {sampleRate: RATE, windowSize: WINDOW, hopSize: HOP, mels: 40, minFrequency: 60} as const;
    const logs = logMel(sound, {...options, maxFrequency: 7600, padding: 'none', floor: 1e-6});
    return tf.div(tf.add(logs, 7), 6);
  });
}

/**
 * Computes the inputs of the base that `loadWordBase` returns, from sounds of one second each.
 *
 * @param sounds a sound or several: samples with their rate, such as `readSound` returns.
 * @returns `[sounds, 98, 40, 1]`. Dispose of it after use.
 * @throws LoRAError `ERR_OPTION` if one is no sound, or there is none; `ERR_MISFIT` if one does not last a second, to
 *     5 ms. `centerSound` of `tfjs-lora/sound` cuts or pads it.
 * @example
 *     const xs = encodeWords([centerSound(await readSound('yes1.wav')), centerSound(await readSound('yes2.wav'))]);
 * @experimental
 */
export function encodeWords(sounds: Sound | readonly Sound[]): tf.Tensor4D {
  const list = Array.isArray(sounds) ? (sounds as readonly Sound[]) : [sounds as Sound];
  if (list.length === 0) {
    throw new LoRAError('sounds must have at least one sound, got an empty list.');
  }
  list.forEach((sound, i) => checkSecond(sound, list.length === 1 ? 'the sound' : `sound ${i}`));
  return tf.tidy(() => tf.expandDims<tf.Tensor4D>(tf.stack(list.map(wordFrames)), 3));
}

/** @throws LoRAError if it is no sound with the frames of one second. */
function checkSecond(sound: Sound, name: string): void {
  checkSound(sound, name);
  const {samples, sampleRate} = sound;
  const length = Math.ceil((samples.length * RATE) / sampleRate);
  if (Math.floor((length - WINDOW) / HOP) + 1 !== FRAMES) {
    const seconds = Number((samples.length / sampleRate).toFixed(3));
    throw misfitError(
      `${name} lasts ${seconds} s, and the base takes sounds of one second. Cut or pad it with centerSound(sound) of ` +
        'tfjs-lora/sound; slidingWindows cuts a longer sound into seconds.',
    );
  }
}
