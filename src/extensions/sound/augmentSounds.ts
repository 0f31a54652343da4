import * as tf from '@tensorflow/tfjs';
import {
  checkCount,
  checkNumber,
  checkOptions,
  LoRAError,
  misfitError,
  show,
  showShape,
  throwFaults,
} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {resample} from './resample';
import {checkSound, type Sound} from './sound';

/** Options of `augmentSounds`. */
export interface AugmentSoundsOptions {
  /** The largest change of loudness in either direction, in dB. Defaults to 6. */
  gain?: number;
  /** The largest shift in either direction, in seconds. Silence fills what is left. Defaults to 0.1. */
  shift?: number;
  /** Background sounds; a part of one is added to each clip. Default: none. */
  noise?: readonly Sound[];
  /** The lowest and the highest ratio of a sound's power to that of the noise, in dB. Defaults to `[5, 20]`. */
  snr?: readonly [number, number];
  /** A whole number: the same seed gives the same sequence of changes. Defaults to a random one. */
  seed?: number;
}

/**
 * Augments sounds at random: gain, shift, and background noise at a signal-to-noise ratio.
 *
 * @param options the largest change of each kind.
 * @returns a function from a sound to a changed one of the same length. Each call draws new changes.
 * @throws LoRAError `ERR_OPTION` if an option is out of range, or `noise` is not a list of sounds.
 * @example
 *     const augment = augmentSounds({noise: [recordedRoom], seed: 1});
 *     const copies = [clip, augment(clip), augment(clip)];
 * @experimental
 */
export function augmentSounds(options: AugmentSoundsOptions = {}): (sound: Sound) => Sound {
  checkOptions(options, {gain: true, shift: true, noise: true, snr: true, seed: true});
  const {gain = 6, shift = 0.1, noise = [], snr = [5, 20]} = options;
  checkNumber('gain', gain, gain >= 0, 'a number of dB, 0 or more');
  checkNumber('shift', shift, shift >= 0, 'a number of seconds, 0 or more');
  const [list, range]: unknown[] = [noise, snr];
  if (!Array.isArray(list)) {
    throw new LoRAError(`noise must be a list of sounds, got ${show(noise)}.`);
  }
  noise.forEach((sound, i) => checkSound(sound, `noise ${i}`));
  if (!Array.isArray(range) || range.length !== 2 || !range.every(Number.isFinite) || snr[0] > snr[1]) {
    throw new LoRAError(`snr must be the lowest and the highest ratio in dB, got ${show(snr)}.`);
  }
  if (options.snr !== undefined && noise.length === 0) {
    throw new LoRAError('snr is the ratio to a noise. Pass {noise} too, or leave it out.');
  }
  const uniform = seeded(options.seed);
  const either = (most: number) => most * (2 * uniform() - 1);
  return sound => {
    checkSound(sound, 'the sound');
    const {samples, sampleRate} = sound;
    const [factor, start] = [10 ** (either(gain) / 20), Math.round(either(shift) * sampleRate)];
    const changed = samples.map((_, i) => factor * (samples[i - start] ?? 0));
    const background = noise[Math.floor(uniform() * noise.length)];
    if (background !== undefined) {
      const ratio = snr[0] + (snr[1] - snr[0]) * uniform();
      addNoise(changed, resample(background, sampleRate).samples, ratio, uniform());
    }
    return {samples: changed, sampleRate};
  };
}

function power(samples: Float32Array): number {
  return samples.reduce((sum, value) => sum + value * value, 0) / Math.max(1, samples.length);
}

/** Adds a part of a noise, which is repeated if it is too short, so loud that the ratio of powers is as given. */
function addNoise(samples: Float32Array, noise: Float32Array, ratio: number, place: number): void {
  const start = Math.floor(place * Math.max(1, noise.length - samples.length));
  const excerpt = samples.map((_, i) => noise[(start + i) % noise.length] ?? 0);
  const [signal, background] = [power(samples), power(excerpt)];
  const factor = background === 0 ? 0 : Math.sqrt(signal / background / 10 ** (ratio / 10));
  excerpt.forEach((value, i) => {
    samples[i] = (samples[i] as number) + factor * value;
  });
}

/** Options of `specAugment`. */
export interface SpecAugmentOptions {
  /** How many spans of frames are masked. Defaults to 2. */
  timeMasks?: number;
  /** The most frames of a span. Defaults to 10. */
  maxFrames?: number;
  /** How many bands of mel filters are masked. Defaults to 2. */
  frequencyMasks?: number;
  /** The most filters of a band. Defaults to 8. */
  maxMels?: number;
  /** A whole number: the same seed gives the same sequence of masks. Defaults to a random one. */
  seed?: number;
}

/**
 * Masks spans of frames and bands of mel filters of spectrograms with their mean (Park et al., "SpecAugment", arXiv
 * 1904.08779, without warping).
 *
 * @param options numbers and sizes of masks.
 * @returns a function from spectrograms `[batch, frames, mels]` to masked ones. Each call draws new masks for each.
 * @throws LoRAError `ERR_OPTION` if an option is out of range; from the function, `ERR_MISFIT` for other shapes.
 * @example
 *     const mask = specAugment({maxFrames: 20, seed: 1});
 *     const masked = mask(spectrograms);
 * @experimental
 */
export function specAugment(options: SpecAugmentOptions = {}): (spectrograms: tf.Tensor) => tf.Tensor3D {
  checkOptions(options, {timeMasks: true, maxFrames: true, frequencyMasks: true, maxMels: true, seed: true});
  const {timeMasks = 2, maxFrames = 10, frequencyMasks = 2, maxMels = 8} = options;
  Object.entries({timeMasks, maxFrames, frequencyMasks, maxMels}).forEach(([name, value]) =>
    checkCount(name, value, 0),
  );
  throwFaults([
    ...(options.maxFrames !== undefined && timeMasks === 0 ? ['maxFrames has no effect with timeMasks: 0.'] : []),
    ...(options.maxMels !== undefined && frequencyMasks === 0 ? ['maxMels has no effect with frequencyMasks: 0.'] : []),
  ]);
  const uniform = seeded(options.seed);
  /** 0 in masked positions of a length, for each example. */
  const maskOf = (batch: number, length: number, count: number, most: number): Float32Array => {
    const values = new Float32Array(batch * length).fill(1);
    for (let example = 0; example < batch; example++) {
      for (let mask = 0; mask < count; mask++) {
        const size = Math.min(length, Math.floor(uniform() * (most + 1)));
        const start = Math.floor(uniform() * (length - size + 1));
        values.fill(0, example * length + start, example * length + start + size);
      }
    }
    return values;
  };
  return spectrograms => {
    if (spectrograms.rank !== 3) {
      throw misfitError(`Spectrograms must be [batch, frames, mels], got ${showShape(spectrograms.shape)}.`);
    }
    const [batch, frames, mels] = spectrograms.shape as [number, number, number];
    return tf.tidy(() => {
      const times = tf.tensor3d(maskOf(batch, frames, timeMasks, maxFrames), [batch, frames, 1]);
      const bands = tf.tensor3d(maskOf(batch, mels, frequencyMasks, maxMels), [batch, 1, mels]);
      const mean = tf.mean(spectrograms, [1, 2], true);
      return tf.add(mean, tf.mul(tf.sub(spectrograms, mean), tf.mul(times, bands)));
    });
  };
}

/** Numbers in [0, 1). */
function seeded(seed = Math.floor(Math.random() * 2 ** 31)): () => number {
  checkNumber('seed', seed, Number.isInteger(seed), 'a whole number');
  const random = randomNumbers(seed, 0);
  return () => random() / 2 ** 32;
}
