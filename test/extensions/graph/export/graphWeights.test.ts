import type * as tf from '@tensorflow/tfjs';
import {encodeWeight, joinWeights, splitWeights} from '../../../../src/extensions/graph/export/graphWeights';

const entries: tf.io.WeightsManifestEntry[] = [
  {name: 'a', shape: [2], dtype: 'float32'},
  {name: 'b', shape: [3], dtype: 'bool'},
  {name: 'c', shape: [2, 1], dtype: 'float32', quantization: {dtype: 'uint8', scale: 0.5, min: -1}},
  {name: 'd', shape: [2], dtype: 'string'},
  {name: 'e', shape: [0], dtype: 'int32'},
  {name: 'f', shape: [1], dtype: 'float32', quantization: {dtype: 'float16'}},
];

/** 8 bytes of floats, 3 of flags, 2 quantized ones, texts of 2 bytes and none, nothing, and 2 of a half. */
const bytes = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2, 0, 0, 0, 65, 66, 0, 0, 0, 0, 14, 15]);

test('each tensor has the bytes at its position', () => {
  const parts = splitWeights(entries, bytes)!;
  const listed = [...parts].map(([name, part]) => [name, [...part.bytes]]);
  expect(listed).toEqual([
    ['a', [1, 2, 3, 4, 5, 6, 7, 8]],
    ['b', [9, 10, 11]],
    ['c', [12, 13]],
    ['d', [2, 0, 0, 0, 65, 66, 0, 0, 0, 0]],
    ['e', []],
    ['f', [14, 15]],
  ]);
});

test('bytes that lie inside a larger buffer are read where they begin', () => {
  const around = new Uint8Array(bytes.length + 7);
  around.set(bytes, 3);
  const parts = splitWeights(entries, around.subarray(3, 3 + bytes.length))!;
  expect([...parts.get('d')!.bytes]).toEqual([2, 0, 0, 0, 65, 66, 0, 0, 0, 0]);
});

test('joined again they are the list and the bytes that they were', () => {
  const joined = joinWeights(splitWeights(entries, bytes)!.values());
  expect(joined.entries).toEqual(entries);
  expect(new Uint8Array(joined.bytes)).toEqual(bytes);
});

test.each<[string, tf.io.WeightsManifestEntry[], Uint8Array]>([
  ['a byte too few', entries, bytes.slice(0, -1)],
  ['a byte too many', entries, Uint8Array.from([...bytes, 0])],
  ['a text that is longer than the file', [{name: 'a', shape: [1], dtype: 'string'}], Uint8Array.of(9, 0, 0, 0, 65)],
  ['a text without its length', [{name: 'a', shape: [1], dtype: 'string'}], Uint8Array.of(9, 0)],
])('%s is not read', (_, list, data) => {
  expect(splitWeights(list, data)).toBeUndefined();
});

test('a type that tfjs does not know is refused by name', () => {
  const list = [{name: 'a', shape: [1], dtype: 'float64' as 'float32'}];
  expect(() => splitWeights(list, bytes.slice(0, 8))).toThrow('Weight "a" is stored as float64');
});

test('floats are stored in 32 bits, or in 16, each as IEEE 754 has it', () => {
  const entry = {name: 'a', shape: [2], dtype: 'float32'};
  const values = Float32Array.of(1, -2);
  // 1 is 0x3f800000 and -2 0xc0000000, little-endian.
  expect([...encodeWeight(entry, values, 'F32').bytes]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
  const half = encodeWeight(entry, values, 'F16');
  // 1 is 0x3c00 and -2 0xc000.
  expect([...half.bytes]).toEqual([0, 0x3c, 0, 0xc0]);
  expect(half.entry.quantization).toEqual({dtype: 'float16', original_dtype: 'float32'});
});

test('integers keep their 32 bits, and the bytes are a copy', () => {
  const values = Int32Array.of(1, 258);
  const {entry, bytes: stored} = encodeWeight({name: 'a', shape: [2], dtype: 'int32'}, values, 'F16');
  values.fill(0);
  expect([...stored]).toEqual([1, 0, 0, 0, 2, 1, 0, 0]);
  expect(entry).toEqual({name: 'a', shape: [2], dtype: 'int32'});
});
