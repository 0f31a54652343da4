import type * as tf from '@tensorflow/tfjs';
import {bytesOfSpecs, measureSpecs} from '../../../src/core/storage/weightBytes';

type Spec = tf.io.WeightsManifestEntry;

const floats: Spec = {name: 'floats', shape: [2, 3], dtype: 'float32'};
const flags: Spec = {name: 'flags', shape: [5], dtype: 'bool'};
const bytes: Spec = {
  name: 'bytes',
  shape: [7],
  dtype: 'float32',
  quantization: {dtype: 'uint8', scale: 1, min: 0},
};
const halves: Spec = {...bytes, name: 'halves', quantization: {dtype: 'float16'}};
const shorts: Spec = {...bytes, name: 'shorts', quantization: {dtype: 'uint16', scale: 1, min: 0}};
const ints: Spec = {...floats, name: 'ints', dtype: 'int32'};
const complex = {...floats, name: 'complex', dtype: 'complex64'} as Spec;
const texts: Spec = {name: 'texts', shape: [2], dtype: 'string'};

/** Texts as tfjs stores them: for each its length, then its bytes. */
function textsOf(...lengths: number[]): Uint8Array {
  return Uint8Array.from(lengths.flatMap(length => [length, 0, 0, 0, ...new Array<number>(length).fill(1)]));
}

test('weights take the bytes of their type, or of the one that they are quantized to', () => {
  expect(bytesOfSpecs([])).toBe(0);
  expect(bytesOfSpecs([floats, flags, bytes, halves])).toBe(24 + 5 + 7 + 14);
  expect([ints, complex, shorts].map(spec => bytesOfSpecs([spec]))).toEqual([24, 48, 14]);
  expect(bytesOfSpecs([{...floats, shape: []}])).toBe(4);
});

test('specs do not tell how many bytes texts take; the bytes do', () => {
  expect(bytesOfSpecs([floats, texts])).toBeUndefined();
  expect(measureSpecs([texts], textsOf(3, 0))).toBe(4 + 3 + 4);
  const file = Uint8Array.from([...new Uint8Array(24), ...textsOf(1, 2), ...new Uint8Array(5)]);
  expect(measureSpecs([floats, texts, flags], file)).toBe(24 + 4 + 1 + 4 + 2 + 5);
  // From the middle of a buffer, as a view may be.
  expect(measureSpecs([texts], Uint8Array.from([9, ...textsOf(3, 0)]).subarray(1))).toBe(11);
});

test('texts that end too early take more bytes than there are', () => {
  expect(measureSpecs([texts], textsOf(3))).toBe(4 + 3 + 4);
  expect(measureSpecs([texts], textsOf(9).subarray(0, 6))).toBeGreaterThan(6);
  expect(measureSpecs([{...texts, shape: [1e9]}], textsOf(1, 1))).toBeGreaterThan(1e9);
});

test('a type that tfjs cannot read is refused by name', () => {
  const wrong = {...floats, dtype: 'float64'} as unknown as Spec;
  const message = 'Weight "floats" is stored as float64, which TensorFlow.js cannot read.';
  expect(() => bytesOfSpecs([wrong])).toThrow(message);
  expect(() => measureSpecs([wrong], new Uint8Array(100))).toThrow(message);
});
