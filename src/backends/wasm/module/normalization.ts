import {BY_NUMBER, type Native} from './native';

/** The addresses of a normalization's weights, `[channels]` each. */
export interface NormalizationPlaces {
  readonly mean: number;
  readonly variance: number;
  readonly scale: number;
  readonly offset: number;
  readonly epsilon: number;
}

/** `y = (x − mean)·scale / √(variance + ε) + offset`, bit for bit as the backend's own kernel has it. */
export function normalize(
  native: Native,
  count: number,
  channels: number,
  x: number,
  {mean, variance, scale, offset, epsilon}: NormalizationPlaces,
  y: number,
): void {
  const {fround} = Math;
  const [roots = 0] = native.reserve(4 * channels);
  const values = native.floats(variance, channels);
  native.writeFloats(
    roots,
    values.map(value => Math.sqrt(fround(value + fround(epsilon)))),
  );
  native.runParts(native.partsOf(count, channels, BY_NUMBER * count), (thread, {first, size}) => {
    thread.normalize(x + 4 * first, mean, roots, scale, offset, y + 4 * first, size, channels);
  });
}
