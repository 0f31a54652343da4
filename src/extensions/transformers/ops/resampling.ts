/** One number of a resampled row: the first of the numbers that it is made of, and what each is multiplied with. */
export interface Taps {
  first: number;
  weights: number[];
}

/** A filter of Pillow: its value `x` steps from the middle, and how far it reaches. */
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

/** The filters that images are resampled with; `'nearest'` takes the nearest number as it is. */
export type Resampling = keyof typeof FILTERS | 'nearest';

/**
 * How `to` numbers are made of `from`, as Pillow does it, and PyTorch with `antialias`: a filter as wide as what one
 * number stands for.
 *
 * @param part of the `to` numbers the first that is wanted, and how many are. Default: all.
 */
export function filteredTaps(
  from: number,
  to: number,
  resampling: Resampling,
  [begin, count]: readonly [begin: number, count: number] = [0, to],
): Taps[] {
  if (resampling === 'nearest' || from === to) {
    return nearestTaps(from, to, [begin, count]);
  }
  const scale = from / to;
  const filter: Filter = FILTERS[resampling];
  const width = Math.max(scale, 1);
  return Array.from({length: count}, (_, i) => {
    const center = (begin + i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - filter.reach * width + 0.5), 0);
    const end = Math.min(Math.trunc(center + filter.reach * width + 0.5), from);
    const weights = Array.from({length: end - first}, (_, j) => filter.at((first + j - center + 0.5) / width));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {first, weights: weights.map(weight => (sum === 0 ? weight : weight / sum))};
  });
}

/** Pillow adds up the positions of what it takes, so that the rounding of all sums before counts. */
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
 * How `to` numbers are made of `from` by PyTorch's `interpolate` with `mode: 'bicubic'`: four neighbours, however small
 * the result; beyond the ends the last number goes on.
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

/** The cubic of convolution whose slope at 1 is `a`. (Keys, 1981.) */
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

/** The bits behind the point of Pillow's weights. */
const PRECISION = 22;

/** The size of an image. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/**
 * An image in another size, or a part of that, with the bits that Pillow 13 gives: along rows and along columns, by
 * weights of 22 bits, rounded to whole colors after each. Only what the part is made of is computed.
 */
export function resized(
  {data, width, height, channels}: Pixels,
  size: ImageSize,
  resampling: Resampling,
  part: ImageSize & {readonly left: number; readonly top: number} = {left: 0, top: 0, ...size},
): Pixels {
  const columns = filteredTaps(width, size.width, resampling, [part.left, part.width]);
  const rows = filteredTaps(height, size.height, resampling, [part.top, part.height]);
  const lost = {width: width - size.width, height: height - size.height};
  const result = {width: part.width, height: part.height, channels};
  // The order that makes fewer numbers, as Pillow counts them. What is rounded in between depends on it.
  if (lost.height > 0 && lost.height > 2 * lost.width) {
    const down = resample(data, rows, {from: height, lines: 1, step: width * channels});
    return {...result, data: resample(down, columns, {from: width, lines: part.height, step: channels})};
  }
  const [{first: begin}, last] = [rows[0], rows.at(-1)] as [Taps, Taps];
  const lines = last.first + last.weights.length - begin;
  const read = data.subarray(begin * width * channels);
  const along = resample(read, columns, {from: width, lines, step: channels});
  const below = rows.map(({first, weights}) => ({first: first - begin, weights}));
  return {...result, data: resample(along, below, {from: lines, lines: 1, step: part.width * channels})};
}

/** Makes numbers of each of some lines, which have `from` steps of `step` numbers. */
function resample(
  data: Uint8Array,
  taps: readonly Taps[],
  {from, lines, step}: {from: number; lines: number; step: number},
): Uint8Array {
  const result = new Uint8Array(lines * taps.length * step);
  const whole = taps.map(({first, weights}) => ({
    first,
    weights: Int32Array.from(weights, weight => Math.trunc(weight * 2 ** PRECISION + (weight < 0 ? -0.5 : 0.5))),
  }));
  const half = 1 << (PRECISION - 1);
  for (let line = 0; line < lines; line++) {
    const before = line * from * step;
    whole.forEach(({first, weights}, i) => {
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
