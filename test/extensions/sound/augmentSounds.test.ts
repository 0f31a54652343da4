import * as tf from '@tensorflow/tfjs';
import {augmentSounds, specAugment} from 'tfjs-lora/sound';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {clip, noise} from './clips';

beforeAll(() => useBackend('cpu'));

const power = (samples: ArrayLike<number>) => Array.from(samples).reduce((sum, x) => sum + x * x, 0) / samples.length;

test('noise is added at the ratio that is asked for', () => {
  const sound = clip(0);
  const background = {samples: Float32Array.from(noise(7, 5000)), sampleRate: 8000}; // resampled, and repeated
  const augment = augmentSounds({gain: 0, shift: 0, noise: [background], snr: [10, 10], seed: 1});
  const added = augment(sound).samples.map((value, i) => value - sound.samples[i]!);
  expect(10 * Math.log10(power(sound.samples) / power(added))).toBeCloseTo(10, 3);
});

test('gain and shift stay in their range, and the seed gives the same sequence', () => {
  const sound = {samples: Float32Array.from({length: 100}, (_, i) => Number(i === 50)), sampleRate: 1000};
  const options = {gain: 6, shift: 0.02, seed: 5};
  const [one, other] = [augmentSounds(options), augmentSounds(options)];
  const made = Array.from({length: 50}, () => one(sound).samples);
  expect(Array.from({length: 50}, () => other(sound).samples)).toEqual(made);
  const places = made.map(samples => samples.findIndex(value => value !== 0));
  const gains = made.map((samples, i) => 20 * Math.log10(samples[places[i]!]!));
  expect(Math.min(...places)).toBeGreaterThanOrEqual(30);
  expect(Math.max(...places)).toBeLessThanOrEqual(70);
  expect(new Set(places).size).toBeGreaterThan(10);
  expect(Math.max(...gains.map(Math.abs))).toBeLessThanOrEqual(6);
  expect(Math.max(...gains)).toBeGreaterThan(3);
});

test('silence and no noise stay as they are', () => {
  const silence = {samples: new Float32Array(50), sampleRate: 1000};
  expect(augmentSounds({noise: [silence]})(silence).samples).toEqual(silence.samples);
  const sound = clip(1);
  expect(augmentSounds({gain: 0, shift: 0})(sound).samples).toEqual(sound.samples);
});

test('specAugment masks spans of frames and bands of filters of each example with its mean', async () => {
  await withoutLeaks(() =>
    tf.tidy(() => {
      const spectrograms = tf.add(tf.range(0, 2 * 30 * 16).reshape([2, 30, 16]), 1000);
      const options = {timeMasks: 1, maxFrames: 9, frequencyMasks: 1, maxMels: 5, seed: 2};
      const masked = specAugment(options)(spectrograms);
      expect(numbers(specAugment(options)(spectrograms))).toEqual(numbers(masked));
      const isSame = numbers(tf.lessEqual(tf.abs(tf.sub(masked, spectrograms)), 1e-3));
      for (const example of [0, 1]) {
        const at = (frame: number, mel: number) => isSame[(example * 30 + frame) * 16 + mel] === 1;
        const frames = Array.from({length: 30}, (_, t) => Array.from({length: 16}, (__, m) => m).some(m => at(t, m)));
        const bands = Array.from({length: 16}, (_, m) => Array.from({length: 30}, (__, t) => t).some(t => at(t, m)));
        for (let i = 0; i < 30 * 16; i++) {
          const [t, m] = [Math.floor(i / 16), i % 16];
          expect(at(t, m)).toBe(frames[t]! && bands[m]!);
        }
        expect(frames.filter(kept => !kept).length).toBeLessThanOrEqual(9);
        expect(bands.filter(kept => !kept).length).toBeLessThanOrEqual(5);
      }
      const mean = numbers(tf.mean(spectrograms, [1, 2]));
      const values = new Set(numbers(masked).map(Math.round));
      expect(mean.some(each => values.has(Math.round(each)))).toBe(true);
    }),
  );
});

test.each([
  [() => augmentSounds({gain: -1}), 'gain must be a number of dB, 0 or more, got -1.'],
  [() => augmentSounds({snr: [9, 1]}), 'snr must be the lowest and the highest ratio in dB, got [9,1].'],
  [() => augmentSounds({noise: [1] as never}), 'noise 0 must be {samples, sampleRate} with samples in a Float32Array'],
  [() => augmentSounds({seed: 0.5}), 'seed must be a whole number, got 0.5.'],
  [() => specAugment({maxFrames: -1}), 'maxFrames must be a whole number, 0 or more, got -1.'],
  [() => specAugment()(tf.zeros([2, 3])), 'Spectrograms must be [batch, frames, mels], got [2, 3].'],
])('bad options are refused', (call, message) => {
  expect(call).toThrow(message);
});
