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

/** The filters that pictures are resampled with; `'nearest'` takes the nearest number as it is. */
export type Resampling = keyof typeof FILTERS | 'nearest';

/**
 * How `to` numbers are made of `from`, as Pillow does it, and PyTorch with `antialias`: a filter as wide as what one
 * number stands for.
 */
export function filteredTaps(from: number, to: number, resampling: Resampling): Taps[] {
  const scale = from / to;
  return Array.from({length: to}, (_, i) => {
    const center = (i + 0.5) * scale;
    if (resampling === 'nearest') {
      return {first: Math.min(Math.floor(center), from - 1), weights: [1]};
    }
    const filter: Filter = FILTERS[resampling];
    const width = Math.max(scale, 1);
    const first = Math.max(Math.trunc(center - filter.reach * width + 0.5), 0);
    const end = Math.min(Math.trunc(center + filter.reach * width + 0.5), from);
    const weights = Array.from({length: end - first}, (_, j) => filter.at((first + j - center + 0.5) / width));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {first, weights: weights.map(weight => (sum === 0 ? weight : weight / sum))};
  });
}

/**
 * How `to` numbers are made of `from` by PyTorch's `interpolate` with `mode: 'bicubic'`: four neighbours, however small
 * the result; beyond the ends the last number goes on.
 */
export function cubicTaps(from: number, to: number): Taps[] {
  return Array.from({length: to}, (_, i) => {
    const place = ((i + 0.5) * from) / to - 0.5;
    const before = Math.floor(place);
    const inside = (index: number) => Math.min(Math.max(index, 0), from - 1);
    const first = inside(before - 1);
    const weights = new Array<number>(inside(before + 2) - first + 1).fill(0);
    for (let index = before - 1; index <= before + 2; index++) {
      const at = inside(index) - first;
      weights[at] = (weights[at] ?? 0) + cubic(Math.abs(place - index), -0.75);
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
