/** The weights of one resampled value, and the first value that they apply to. */
export interface Taps {
  first: number;
  weights: number[];
}

/** A filter of Pillow: its value at a distance `x` from the center, and its radius. */
interface Filter {
  reach: number;
  at(x: number): number;
}

const FILTERS = {
  box: {reach: 0.5, at: x => (x > -0.5 && x <= 0.5 ? 1 : 0)},
  bilinear: {reach: 1, at: x => Math.max(0, 1 - Math.abs(x))},
  hamming: {reach: 1, at: x => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0)},
  bicubic: {reach: 2, at: x => cubic(Math.abs(x), -0.5)},
  lanczos: {reach: 3, at: x => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)},
} satisfies Record<string, Filter>;

/** The resampling filters; `'nearest'` takes the nearest value. */
export type Resampling = keyof typeof FILTERS | 'nearest';

/**
 * The weights for resampling `from` values to `to`, as in Pillow, and in PyTorch with `antialias`: the filter is as
 * wide as the input of one output value.
 *
 * @param part the first output value that is needed, and how many. Default: all.
 * @param rounded how positions are rounded: PyTorch computes them in 32-bit floats. Default: not at all.
 */
export function filteredTaps(
  from: number,
  to: number,
  resampling: Resampling,
  [begin, count]: readonly [begin: number, count: number] = [0, to],
  rounded: (position: number) => number = position => position,
): Taps[] {
  if (resampling === 'nearest' || from === to) {
    return nearestTaps(from, to, [begin, count]);
  }
  const scale = rounded(from / to);
  const filter: Filter = FILTERS[resampling];
  const width = Math.max(scale, 1);
  return Array.from({length: count}, (_, i) => {
    const center = rounded((begin + i + 0.5) * scale);
    const first = Math.max(Math.trunc(center - filter.reach * width + 0.5), 0);
    const end = Math.min(Math.trunc(center + filter.reach * width + 0.5), from);
    const weights = Array.from({length: end - first}, (_, j) => filter.at((rounded(first + j - center) + 0.5) / width));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {first, weights: weights.map(weight => (sum === 0 ? weight : weight / sum))};
  });
}

/** Pillow sums up positions step by step, so rounding errors accumulate. */
function nearestTaps(from: number, to: number, [begin, count]: readonly [begin: number, count: number]): Taps[] {
  const taps: Taps[] = [];
  const step = from / to;
  for (let i = 0, position = step / 2; i < begin + count; i++, position += step) {
    if (i >= begin) {
      taps.push({first: Math.min(Math.floor(position), from - 1), weights: [1]});
    }
  }
  return taps;
}

/**
 * The weights for resampling `from` values to `to` as in PyTorch's `interpolate` with `mode: 'bicubic'`: four neighbors
 * whatever the size of the result; the edges are repeated.
 */
export function cubicTaps(from: number, to: number): Taps[] {
  return Array.from({length: to}, (_, i) => {
    const position = ((i + 0.5) * from) / to - 0.5;
    const before = Math.floor(position);
    const inside = (index: number) => Math.min(Math.max(index, 0), from - 1);
    const first = inside(before - 1);
    const weights = new Array<number>(inside(before + 2) - first + 1).fill(0);
    for (let index = before - 1; index <= before + 2; index++) {
      const at = inside(index) - first;
      weights[at] = (weights[at] ?? 0) + cubic(Math.abs(position - index), -0.75);
    }
    return {first, weights};
  });
}

/** The same with `mode: 'bilinear'`: the two nearest neighbors. */
export function linearTaps(from: number, to: number): Taps[] {
  return Array.from({length: to}, (_, i) => {
    const position = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    const first = Math.floor(position);
    return {first, weights: first + 1 < from ? [1 - position + first, position - first] : [1]};
  });
}

/** The cubic convolution kernel with parameter `a`. (Keys, 1981.) */
function cubic(x: number, a: number): number {
  if (x < 1) {
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  }
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** Colors of an image, row by row, 0 to 255. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
  channels: number;
}

/** The fractional bits of Pillow's weights. */
const PRECISION = 22;

export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/**
 * Resizes an image, or a part of the result, with the same bits as Pillow 13: along rows and columns, with weights of
 * 22 bits, rounded to integers after each pass. Only the input of the part is computed.
 */
export function resized(
  {data, width, height, channels}: Pixels,
  size: ImageSize,
  resampling: Resampling,
  crop: ImageSize & {readonly left: number; readonly top: number} = {left: 0, top: 0, ...size},
): Pixels {
  const columns = filteredTaps(width, size.width, resampling, [crop.left, crop.width]);
  const rows = filteredTaps(height, size.height, resampling, [crop.top, crop.height]);
  const lost = {width: width - size.width, height: height - size.height};
  const result = {width: crop.width, height: crop.height, channels};
  // The order with fewer operations, counted as in Pillow. The intermediate rounding depends on it.
  if (lost.height > 0 && lost.height > 2 * lost.width) {
    const down = resample(data, rows, {from: height, lines: 1, step: width * channels});
    return {...result, data: resample(down, columns, {from: width, lines: crop.height, step: channels})};
  }
  const [{first: begin}, last] = [rows[0], rows.at(-1)] as [Taps, Taps];
  const lines = last.first + last.weights.length - begin;
  const read = data.subarray(begin * width * channels);
  const along = resample(read, columns, {from: width, lines, step: channels});
  const below = rows.map(({first, weights}) => ({first: first - begin, weights}));
  return {...result, data: resample(along, below, {from: lines, lines: 1, step: crop.width * channels})};
}

/** Resizes an image without rounding, as PyTorch resizes floats with `antialias`. */
export function resizedFloats(
  {data, width, height, channels}: Pixels,
  size: ImageSize,
  resampling: Resampling,
): Float32Array {
  const taps = (from: number, to: number) => filteredTaps(from, to, resampling, [0, to], Math.fround);
  const along = summed(data, taps(width, size.width), {from: width, lines: height, step: channels});
  return summed(along, taps(height, size.height), {from: height, lines: 1, step: size.width * channels});
}

function summed(
  data: Uint8Array | Float32Array,
  taps: readonly Taps[],
  {from, lines, step}: {from: number; lines: number; step: number},
): Float32Array {
  const result = new Float32Array(lines * taps.length * step);
  for (let line = 0; line < lines; line++) {
    taps.forEach(({first, weights}, i) => {
      for (let k = 0; k < step; k++) {
        const at = (line * from + first) * step + k;
        const sum = weights.reduce((total, weight, j) => total + weight * (data[at + j * step] as number), 0);
        result[(line * taps.length + i) * step + k] = sum;
      }
    });
  }
  return result;
}

/** Resamples lines of `from` values that are `step` apart. */
function resample(
  data: Uint8Array,
  taps: readonly Taps[],
  {from, lines, step}: {from: number; lines: number; step: number},
): Uint8Array {
  const result = new Uint8Array(lines * taps.length * step);
  const integerTaps = taps.map(({first, weights}) => ({
    first,
    weights: Int32Array.from(weights, weight => Math.trunc(weight * 2 ** PRECISION + (weight < 0 ? -0.5 : 0.5))),
  }));
  const half = 1 << (PRECISION - 1);
  for (let line = 0; line < lines; line++) {
    const before = line * from * step;
    integerTaps.forEach(({first, weights}, i) => {
      const at = (line * taps.length + i) * step;
      for (let k = 0; k < step; k++) {
        let sum = half;
        for (let j = 0, position = before + first * step + k; j < weights.length; j++, position += step) {
          sum += (data[position] as number) * (weights[j] as number);
        }
        result[at + k] = Math.min(Math.max(sum >> PRECISION, 0), 255);
      }
    });
  }
  return result;
}
