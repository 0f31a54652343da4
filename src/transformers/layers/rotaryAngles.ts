import * as tf from '@tensorflow/tfjs';
import {show} from '../../errors';
import type {Angles} from '../ops/rotary';

/** How places become angles. */
export interface Rotary {
  /** The angle of pair `j` at place `p` is `p / base^(2j / size)`. Default: 10000. */
  base?: number;
  /**
   * The angle of each pair at place 1, where no base gives it. There may be fewer pairs than a head holds; the other
   * numbers stay.
   */
  frequencies?: number[];
  /** Pairs are `(2j, 2j + 1)` instead of `(j, j + half)`. Default: false. */
  interleaved?: boolean;
  /** What cosines and sines are multiplied with. Default: 1. */
  scale?: number;
  /** What a text of more than so many places turns by instead, at each of its places. */
  longer?: {places: number; frequencies: number[]};
}

/** What is wrong with a setting, for heads of `size` numbers if that is known. */
export function rotaryFaults({base, frequencies, scale, longer}: Rotary, size?: number): string[] {
  const faults: string[] = [];
  if (base !== undefined && !(Number.isFinite(base) && base > 0)) {
    faults.push(`rotary.base must be a positive number, got ${show(base)}.`);
  }
  if (scale !== undefined && !(Number.isFinite(scale) && scale > 0)) {
    faults.push(`rotary.scale must be a positive number, got ${show(scale)}.`);
  }
  if (longer !== undefined && !(longer.frequencies.length === frequencies?.length)) {
    faults.push('rotary.longer must have as many frequencies as rotary.frequencies.');
  }
  if (frequencies !== undefined && !(Array.isArray(frequencies) && frequencies.every(Number.isFinite))) {
    faults.push('rotary.frequencies must be a list of numbers.');
  } else if (size !== undefined && (frequencies === undefined ? size % 2 !== 0 : 2 * frequencies.length > size)) {
    faults.push(
      `pairs are turned, which heads of ${size} numbers do not have${frequencies ? ` (${frequencies.length})` : ''}.`,
    );
  }
  return faults;
}

/** The angles of the pairs at place 1, rounded as PyTorch has them. An odd number has a pair of its own. */
export function frequenciesOf({base = 10_000, frequencies}: Rotary, size: number): number[] {
  const pairs = Math.ceil(size / 2);
  return frequencies ?? Array.from({length: pairs}, (_, j) => Math.fround(1 / Math.fround(base ** ((2 * j) / size))));
}

/** Cosines and sines of places `from` to `from + count` of heads of `size` numbers, as tensors. */
export function anglesOf(rotary: Rotary, size: number, from: number, count: number): Angles {
  const {scale = 1, longer} = rotary;
  const isLonger = longer !== undefined && from + count > longer.places;
  const frequencies = isLonger ? longer.frequencies : frequenciesOf(rotary, size);
  const half = frequencies.length;
  const [cosines, sines] = [new Float32Array(count * half), new Float32Array(count * half)];
  for (let place = 0; place < count; place++) {
    frequencies.forEach((frequency, j) => {
      const angle = Math.fround((from + place) * Math.fround(frequency));
      cosines[place * half + j] = scale * Math.cos(angle);
      sines[place * half + j] = scale * Math.sin(angle);
    });
  }
  return {cosines: tf.tensor2d(cosines, [count, half]), sines: tf.tensor2d(sines, [count, half])};
}
