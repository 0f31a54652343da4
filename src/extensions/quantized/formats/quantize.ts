import {toFloat16} from '../../../platform/formats/halfFloats';

/** How many values share a scale. */
export const BLOCK = 32;

/** Packs a block of 32 values. Returns whether the values and the scale are finite. */
export type Quantize = (values: Float32Array, bytes: Uint8Array, at: number) => boolean;

const {fround, floor} = Math;

/** Returns the bits of the float16 nearest to a float32. */
function halfBits(value: number): number {
  return toFloat16(new Uint32Array(Float32Array.of(value).buffer)[0] as number);
}

/** Returns the value of a block that is furthest from zero; the first of two that are equally far. */
function furthest(values: Float32Array): number {
  return values.reduce((most, value) => (Math.abs(value) > Math.abs(most) || Number.isNaN(value) ? value : most), 0);
}

/** Writes a scale, and returns its inverse; `undefined` if the scale is not finite. */
function writeScale(scale: number, bytes: Uint8Array, at: number): number | undefined {
  const bits = halfBits(scale);
  bytes[at] = bits & 255;
  bytes[at + 1] = bits >> 8;
  return (bits & 0x7c00) === 0x7c00 ? undefined : scale === 0 ? 0 : fround(1 / scale);
}

/** Q8_0: `d·q`, `q` from −127 to 127, `d` the largest magnitude by 127, as float16. */
export const quantize8: Quantize = (values, bytes, at) => {
  const inverse = writeScale(fround(Math.abs(furthest(values)) / 127), bytes, at);
  values.forEach((value, i) => {
    const magnitude = Math.abs(fround(value * (inverse ?? 0)));
    const integer = floor(magnitude);
    bytes[at + 2 + i] = Math.sign(value) * (integer + floor(2 * (magnitude - integer)));
  });
  return inverse !== undefined;
};

/** Q4_0: `d·(q − 8)`, `q` from 0 to 15, `d` the value furthest from zero by −8, as float16. */
export const quantize4: Quantize = (values, bytes, at) => {
  const inverse = writeScale(fround(furthest(values) / -8), bytes, at);
  const wholes = Array.from(values, value => {
    return Math.min(15, Math.trunc(fround(fround(value * (inverse ?? 0)) + 8.5)));
  });
  for (let i = 0; i < 16; i++) {
    bytes[at + 2 + i] = (wholes[i] as number) | ((wholes[i + 16] as number) << 4);
  }
  return inverse !== undefined;
};
