import * as tf from '@tensorflow/tfjs';
import {show} from '../../../platform/errors';
import type {Angles} from '../ops/rotary';

/** Settings of rotary position embeddings (RoPE). */
export interface Rotary {
  /** The angle of pair `j` at position `p` is `p / base^(2j / size)`. Default: 10000. */
  base?: number;
  /** The angle of each pair at position 1, instead of a base. Values without a pair stay as they are. */
  frequencies?: number[];
  /** Pairs are `(2j, 2j + 1)` instead of `(j, j + half)`. Default: false. */
  interleaved?: boolean;
  /** A factor for cosines and sines. Default: 1. */
  scale?: number;
  /**
   * Frequencies for texts of more than `places` positions: given ones, or those of a base that grows with the length of
   * the text (dynamic NTK). They apply to all positions of such a text. Each text of a batch has its own length, from
   * the first position that its mask shows to the last. (`places` is the key in saved models.)
   */
  longer?: {places: number; frequencies: number[]} | {places: number; factor: number};
}

/** What is wrong with the settings, for heads of `size` values if that is known. */
export function rotaryFaults({base, frequencies, scale, longer}: Rotary, size?: number): string[] {
  const faults: string[] = [];
  if (base !== undefined && !(Number.isFinite(base) && base > 0)) {
    faults.push(`rotary.base must be a positive number, got ${show(base)}.`);
  }
  if (scale !== undefined && !(Number.isFinite(scale) && scale > 0)) {
    faults.push(`rotary.scale must be a positive number, got ${show(scale)}.`);
  }
  if (longer !== undefined && 'factor' in longer) {
    if (!(Number.isFinite(longer.factor) && longer.factor > 0) || (size !== undefined && size <= 2)) {
      faults.push(`rotary.longer needs a positive factor and heads of more than 2 values, got ${show(longer)}.`);
    }
  } else if (longer !== undefined && longer.frequencies.length !== frequencies?.length) {
    faults.push('rotary.longer must have as many frequencies as rotary.frequencies.');
  }
  if (frequencies !== undefined && !(Array.isArray(frequencies) && frequencies.every(Number.isFinite))) {
    faults.push('rotary.frequencies must be a list of numbers.');
  } else if (size !== undefined && (frequencies === undefined ? size % 2 !== 0 : 2 * frequencies.length > size)) {
    faults.push(
      frequencies
        ? `${frequencies.length} pairs do not fit in heads of ${size} values.`
        : `heads must have an even number of values, got ${size}.`,
    );
  }
  return faults;
}

/** The angles of the pairs at position 1, rounded as in PyTorch. If `size` is odd, the last value is a pair. */
export function frequenciesOf({base = 10_000, frequencies, longer}: Rotary, size: number, positions = 0): number[] {
  if (longer === undefined || positions <= longer.places) {
    return frequencies ?? ofBase(base, size);
  }
  if ('frequencies' in longer) {
    return longer.frequencies;
  }
  const {fround} = Math;
  const growth = fround(fround(fround(longer.factor * positions) / longer.places) - (longer.factor - 1));
  return ofBase(fround(base * fround(growth ** (size / (size - 2)))), size);
}

function ofBase(base: number, size: number): number[] {
  const pairs = Math.ceil(size / 2);
  return Array.from({length: pairs}, (_, j) => Math.fround(1 / Math.fround(base ** ((2 * j) / size))));
}

/** Whether the angles of a text change when it grows from `before` to `now` positions. */
export function anglesChange({longer}: Rotary, before: number, now: number): boolean {
  return longer !== undefined && now > longer.places && ('factor' in longer || before <= longer.places);
}

/** The size of the heads and the positions to rotate. */
interface Rotated {
  /** How many values a head has. */
  size: number;
  /** The first position, and how many follow. No text is longer. */
  from: number;
  count: number;
}

/**
 * Cosines and sines for positions, `[count, half]`, or `[texts · count, half]` if each text has its own angles.
 *
 * @param mask `[texts, positions]`, 0 for padding; `null` if all texts have the same length.
 */
export function anglesOf(rotary: Rotary, rotated: Rotated, mask: tf.Tensor | null): Angles {
  const most = rotated.from + rotated.count;
  const {longer} = rotary;
  if (longer === undefined || mask === null || most <= longer.places) {
    return tablesOf(rotary, rotated, most);
  }
  const more = tf.sub(lengthsOf(mask), longer.places);
  const {cosines, sines} =
    'factor' in longer
      ? grownTables(rotary, rotated, more, longer.places)
      : chosenTables(rotary, rotated, tf.greater(more, 0), longer.places);
  const flat = (table: tf.Tensor) => tf.reshape<tf.Rank.R2>(table, [-1, table.shape[2] ?? 0]);
  return {cosines: flat(cosines), sines: flat(sines)};
}

/** Tables for a text of `positions` positions. */
function tablesOf(rotary: Rotary, {size, from, count}: Rotated, positions: number): Angles {
  const frequencies = frequenciesOf(rotary, size, positions);
  const half = frequencies.length;
  const [cosines, sines] = [new Float32Array(count * half), new Float32Array(count * half)];
  for (let position = 0; position < count; position++) {
    const row = anglesAt(from + position, frequencies, rotary);
    cosines.set(row.cosines, position * half);
    sines.set(row.sines, position * half);
  }
  return {cosines: tf.tensor2d(cosines, [count, half]), sines: tf.tensor2d(sines, [count, half])};
}

/** The cosines and sines of one position, given the angles at position 1. */
export function anglesAt(
  position: number,
  frequencies: readonly number[],
  {scale = 1}: Rotary,
): Record<keyof Angles, Float32Array> {
  const [cosines, sines] = [new Float32Array(frequencies.length), new Float32Array(frequencies.length)];
  for (const [j, frequency] of frequencies.entries()) {
    const angle = Math.fround(position * Math.fround(frequency));
    cosines[j] = scale * Math.cos(angle);
    sines[j] = scale * Math.sin(angle);
  }
  return {cosines, sines};
}

/** The lengths of texts, `[texts, 1, 1]`. */
function lengthsOf(mask: tf.Tensor): tf.Tensor {
  const [, positions = 0] = mask.shape;
  const seen = tf.cast(tf.notEqual(mask, 0), 'float32');
  const furthest = (order: tf.Tensor1D) => tf.max(tf.mul(seen, order), 1);
  const both = tf.add(furthest(tf.range(1, positions + 1)), furthest(tf.range(positions, 0, -1)));
  return tf.reshape(tf.sub(both, positions), [-1, 1, 1]);
}

/** Tables in which each text has the angles of long or of short texts. */
function chosenTables(
  rotary: Rotary,
  rotated: Rotated,
  areLong: tf.Tensor,
  positions: number,
): Record<keyof Angles, tf.Tensor> {
  const [short, long] = [positions, positions + 1].map(length => tablesOf(rotary, rotated, length)) as [Angles, Angles];
  const chosen = (name: keyof Angles) => tf.where(areLong, tf.expandDims(long[name], 0), tf.expandDims(short[name], 0));
  return {cosines: chosen('cosines'), sines: chosen('sines')};
}

/** 2π in two parts. Products of the first part and integers are exact. */
const [TWO_PI_HIGH, TWO_PI_LOW] = [6.28125, 2 * Math.PI - 6.28125];

/** Tables for texts that are `more` positions longer than `positions`. A table for every length would be too many. */
function grownTables(
  rotary: Rotary,
  {size, from, count}: Rotated,
  more: tf.Tensor,
  positions: number,
): Record<keyof Angles, tf.Tensor> {
  const lengths = Array.from({length: from + count - positions + 1}, (_, i) =>
    frequenciesOf(rotary, size, positions + i),
  );
  const rows = tf.cast(tf.reshape(tf.maximum(more, 0), [-1, 1]), 'int32');
  const textFrequencies = tf.gather(tf.tensor2d(lengths), rows); // [texts, 1, half]
  const {cosines, sines} = cosinesOf(tf.mul(tf.reshape(tf.range(from, from + count), [1, count, 1]), textFrequencies));
  const {scale = 1} = rotary;
  return {cosines: tf.mul(cosines, scale), sines: tf.mul(sines, scale)};
}

const OF_COSINE = [1, -1 / 2, 1 / 24, -1 / 720, 1 / 40_320];
const OF_SINE = [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362_880];

/** Cosines and sines by their series at a quarter of each angle: those of graphics cards are exact to three digits. */
function cosinesOf(angles: tf.Tensor): Record<keyof Angles, tf.Tensor> {
  const periods = tf.round(tf.div(angles, 2 * Math.PI));
  const near = tf.sub(tf.sub(angles, tf.mul(periods, TWO_PI_HIGH)), tf.mul(periods, TWO_PI_LOW));
  const quarter = tf.div(near, 4);
  const square = tf.square(quarter);
  const series = (factors: readonly number[]) =>
    factors.reduceRight<tf.Tensor>((sum, factor) => tf.add(tf.mul(sum, square), factor), tf.scalar(0));
  let [cosines, sines] = [series(OF_COSINE), tf.mul(quarter, series(OF_SINE))];
  for (let doubled = 0; doubled < 2; doubled++) {
    [cosines, sines] = [tf.sub(tf.square(cosines), tf.square(sines)), tf.mul(2, tf.mul(cosines, sines))];
  }
  return {cosines, sines};
}
