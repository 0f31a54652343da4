import {FFT} from './fft';
import type {MelFilter} from './melFilters';

/** How frames are taken of a sound, and what is computed of each. */
export interface Frames {
  /** The window, which is as long as a frame. */
  window: Float64Array;
  hop: number;
  fftSize: number;
  /** Whether frames are centered, the first at sample 0, and what is beyond the ends. */
  padding: 'reflect' | 'zeros' | 'none';
  /** 1 for magnitudes, 2 for powers. */
  power: 1 | 2;
  /** As Kaldi does: without the frame's mean, and with high frequencies amplified. */
  preemphasis?: number;
  filters: readonly MelFilter[];
}

/** A Hann window: periodic, or symmetric. */
export function hann(length: number, isPeriodic: boolean): Float64Array {
  const period = isPeriodic ? length : length - 1;
  return Float64Array.from({length}, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / period));
}

/** How many frames a sound has. */
export function frameCount(samples: number, {window, hop, padding}: Frames): number {
  const paddedLength = padding === 'none' ? samples : samples + 2 * Math.floor(window.length / 2);
  return Math.max(0, Math.floor((paddedLength - window.length) / hop) + 1);
}

/** The energies of frames in mel filters, `[frames, mels]`. */
export function melFrames(samples: Float32Array, frames: Frames): Float64Array {
  const {window, hop, fftSize, padding, power, filters} = frames;
  const count = frameCount(samples.length, frames);
  const energies = new Float64Array(count * filters.length);
  const fft = new FFT(fftSize);
  const bins = Math.floor(fftSize / 2) + 1;
  const before = padding === 'none' ? 0 : Math.floor(window.length / 2);
  // Two frames are one complex signal: the spectrum of the first is its even part, that of the second its odd part.
  const pair = [new Float64Array(fftSize), new Float64Array(fftSize)] as const;
  const spectra = [new Float64Array(bins), new Float64Array(bins)] as const;
  const zeros = new Float64Array(fftSize);
  const transform = (one: Float64Array, other: Float64Array) => {
    fft.transform(one, other);
    for (let k = 0; k < bins; k++) {
      const other = k === 0 ? 0 : fftSize - k;
      const [x, y] = [fft.re[k] as number, fft.im[k] as number];
      const [u, v] = [fft.re[other] as number, fft.im[other] as number];
      const first = ((x + u) ** 2 + (y - v) ** 2) / 4;
      const second = ((y + v) ** 2 + (u - x) ** 2) / 4;
      spectra[0][k] = power === 2 ? first : Math.sqrt(first);
      spectra[1][k] = power === 2 ? second : Math.sqrt(second);
    }
  };
  for (let i = 0; i < count; i += 2) {
    const framePair = [i, i + 1].slice(0, count - i);
    const areFinite = framePair.map((frame, j) =>
      takeFrame(samples, frame * hop - before, frames, pair[j] as Float64Array),
    );
    if (framePair.length === 2 && areFinite.every(Boolean)) {
      transform(...pair);
      framePair.forEach((frame, j) => filtered(spectra[j] as Float64Array, filters, energies, frame));
    } else {
      // NaN in one of two frames would spoil the other.
      framePair.forEach((frame, j) => {
        transform(pair[j] as Float64Array, zeros);
        filtered(spectra[0], filters, energies, frame);
      });
    }
  }
  return energies;
}

/** Windows a frame, and tells whether all of it is finite. */
function takeFrame(samples: Float32Array, start: number, frames: Frames, into: Float64Array): boolean {
  const {window, padding, preemphasis} = frames;
  const {length} = window;
  const isInside = start >= 0 && start + length <= samples.length;
  for (let i = 0; i < length; i++) {
    const at = start + i;
    into[i] = (isInside ? samples[at] : padding === 'zeros' ? (samples[at] ?? 0) : reflected(samples, at)) as number;
  }
  if (preemphasis !== undefined) {
    let sum = 0;
    for (let i = 0; i < length; i++) {
      sum += into[i] as number;
    }
    for (let i = length - 1; i >= 0; i--) {
      const mean = sum / length;
      const previous = (i === 0 ? (into[0] as number) : (into[i - 1] as number)) - mean;
      into[i] = (into[i] as number) - mean - preemphasis * previous;
    }
  }
  let total = 0; // too small a sum of 32-bit floats to overflow
  for (let i = 0; i < length; i++) {
    into[i] = (into[i] as number) * (window[i] as number);
    total += into[i] as number;
  }
  return Number.isFinite(total);
}

/** A sample of a sound that is mirrored at its ends as often as needed. */
function reflected(samples: Float32Array, at: number): number {
  const period = 2 * (samples.length - 1);
  if (period <= 0) {
    return samples[0] ?? 0;
  }
  const inPeriod = ((at % period) + period) % period;
  return samples[Math.min(inPeriod, period - inPeriod)] as number;
}

function filtered(spectrum: Float64Array, filters: readonly MelFilter[], energies: Float64Array, frame: number): void {
  filters.forEach(({first, weights}, mel) => {
    let sum = 0;
    for (let k = 0; k < weights.length; k++) {
      sum += (spectrum[first + k] as number) * (weights[k] as number);
    }
    energies[frame * filters.length + mel] = sum;
  });
}
