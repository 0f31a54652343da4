import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, LoRAError, misfitError, show} from '../../platform/errors';
import {type MelScale, melFilters} from './melFilters';
import {type Frames, frameCount, hann, melFrames} from './melFrames';
import {resample} from './resample';
import {checkRate, checkSound, type Sound} from './sound';

/** How a mel spectrogram is computed. */
export interface LogMelOptions {
  /** Sounds are resampled to this rate. Defaults to 16,000. */
  sampleRate?: number;
  /** Samples of a frame, in a Hann window. Defaults to 400, which is 25 ms. */
  windowSize?: number;
  /** Samples from one frame to the next. Defaults to 160, which is 10 ms. */
  hopSize?: number;
  /** The size of the Fourier transform. Frames are padded to it. Defaults to `windowSize`. */
  fftSize?: number;
  /** The number of mel filters. Defaults to 64. */
  mels?: number;
  /** The lowest frequency of the filters, in Hz. Defaults to 0. */
  minFrequency?: number;
  /** The highest frequency of the filters, in Hz. Defaults to half of the sample rate. */
  maxFrequency?: number;
  /** The mel scale: that of librosa and Whisper, of HTK, or of Kaldi. Defaults to `'slaney'`. */
  scale?: MelScale;
  /** Whether each filter is divided by its width, as in librosa. Defaults to true for `'slaney'`. */
  normalized?: boolean;
  /** Samples beyond the ends of the sound; `'none'`: the first frame starts at sample 0. Defaults to `'reflect'`. */
  padding?: 'reflect' | 'zeros' | 'none';
  /** 1 to filter magnitudes, 2 to filter powers. Defaults to 2. */
  power?: 1 | 2;
  /** The logarithm. `'dB'` is 10 · log10 of powers, or 20 · log10 of magnitudes. Defaults to `'ln'`. */
  log?: 'ln' | 'log10' | 'dB' | 'none';
  /** The lowest energy before the logarithm. Defaults to 1e-10. */
  floor?: number;
}

const SCALES: readonly unknown[] = ['slaney', 'htk', 'kaldi'];

const LOGARITHMS: Readonly<Record<NonNullable<LogMelOptions['log']>, (energy: number, power: number) => number>> = {
  ln: Math.log,
  log10: Math.log10,
  dB: (energy, power) => (20 / power) * Math.log10(energy),
  none: energy => energy,
};

/**
 * Computes the log-mel spectrogram of a sound, on the host in 64 bits. One second takes about 4 ms with the defaults,
 * so a live page can compute it as sounds arrive.
 *
 * @param sound samples with their rate, such as `readSound` returns.
 * @param options frames, filters, and the logarithm.
 * @returns `[frames, mels]`. Dispose of it after use.
 * @throws LoRAError `ERR_OPTION` if it is no sound or an option is out of range; `ERR_MISFIT` if the sound is shorter
 *     than a frame.
 * @example
 *     const spectrogram = logMel(await readSound(file), {mels: 40});
 * @experimental
 */
export function logMel(sound: Sound, options: LogMelOptions = {}): tf.Tensor2D {
  const {sampleRate, frames, log, floor} = checked(options);
  checkSound(sound, 'the sound');
  const {samples} = resample(sound, sampleRate);
  const count = frameCount(samples.length, frames);
  if (count === 0 || samples.length === 0) {
    throw misfitError(`The sound has ${samples.length} samples; a frame needs ${frames.window.length}.`);
  }
  const values = Float32Array.from(melFrames(samples, frames), energy =>
    LOGARITHMS[log](Math.max(energy, floor), frames.power),
  );
  return tf.tensor2d(values, [count, frames.filters.length]);
}

function checked(options: LogMelOptions) {
  checkOptions(options, {
    ...{sampleRate: true, windowSize: true, hopSize: true, fftSize: true, mels: true, minFrequency: true},
    ...{maxFrequency: true, scale: true, normalized: true, padding: true, power: true, log: true, floor: true},
  });
  const {sampleRate = 16_000, windowSize = 400, hopSize = 160, fftSize = windowSize, mels = 64} = options;
  const {minFrequency = 0, maxFrequency = sampleRate / 2, scale = 'slaney', normalized = scale === 'slaney'} = options;
  const {padding = 'reflect', power = 2, log = 'ln', floor = 1e-10} = options;
  checkRate('sampleRate', sampleRate);
  checkCount('windowSize', windowSize, 2);
  checkCount('hopSize', hopSize);
  checkCount('mels', mels);
  checkCount('fftSize', fftSize, windowSize);
  checkNumber('minFrequency', minFrequency, minFrequency >= 0, 'a frequency in Hz, 0 or more');
  const isAbove = maxFrequency > minFrequency && maxFrequency <= sampleRate / 2;
  checkNumber('maxFrequency', maxFrequency, isAbove, 'above minFrequency, and at most half of the sample rate');
  checkNumber('floor', floor, floor > 0, 'a number above 0');
  checkChoice('scale', scale, SCALES);
  checkChoice('padding', padding, ['reflect', 'zeros', 'none']);
  checkChoice('power', power, [1, 2]);
  checkChoice('log', log, Object.keys(LOGARITHMS));
  checkChoice('normalized', normalized, [true, false]);
  const bank = {sampleRate, fftSize, mels, minFrequency, maxFrequency, scale, normalized};
  const frames: Frames = {
    window: hann(windowSize, true),
    hop: hopSize,
    fftSize,
    padding,
    power,
    filters: melFilters(bank),
  };
  return {sampleRate, frames, log, floor};
}

function checkChoice(name: string, value: unknown, choices: readonly unknown[]): void {
  if (!choices.includes(value)) {
    throw new LoRAError(`${name} must be one of ${choices.map(show).join(', ')}, got ${show(value)}.`);
  }
}
