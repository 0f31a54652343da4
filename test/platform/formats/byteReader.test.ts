import {isTextList} from '../../../src/core/adapter/checkAdapter';
import {ByteReader, type ByteStream, concatenate} from '../../../src/platform/formats/byteReader';
import {duplicateKeys, nesting} from '../../../src/platform/formats/jsonText';

/** A stream of pieces: 1, 2, 3, … in all. */
function streamOf(sizes: readonly number[], size: number | null): ByteStream & {reasons: unknown[]} {
  let last = 0;
  const pieces = sizes.map(length => Uint8Array.from({length}, () => ++last));
  const reasons: unknown[] = [];
  return {
    next: () => Promise.resolve(pieces.shift()),
    size,
    cancel: reason => void reasons.push(reason),
    reasons,
  };
}

test('bytes are taken across pieces, as many as are asked for, and what is left follows', async () => {
  const reader = new ByteReader(streamOf([2, 0, 3, 4], 9));
  expect(reader.size).toBe(9);
  expect(await reader.take(3)).toEqual(Uint8Array.of(1, 2, 3));
  expect(reader.position).toBe(3);
  expect(await reader.some(100)).toEqual(Uint8Array.of(4, 5));
  expect(await reader.some(1)).toEqual(Uint8Array.of(6));
  expect(await reader.take(0)).toEqual(new Uint8Array(0));
  expect(await reader.hasMore()).toBe(true);
  expect(reader.position).toBe(6);
  expect(await reader.take(3)).toEqual(Uint8Array.of(7, 8, 9));
  expect(await reader.hasMore()).toBe(false);
  expect(await reader.some(1)).toBeUndefined();
  expect(reader.position).toBe(9);
});

test('what is taken is a copy', async () => {
  const piece = Uint8Array.of(1, 2);
  const pieces = [piece];
  const reader = new ByteReader({next: () => Promise.resolve(pieces.shift()), size: null, cancel: () => undefined});
  const taken = await reader.take(2);
  piece[0] = 9;
  expect(taken).toEqual(Uint8Array.of(1, 2));
});

test('bytes that the size does not have are refused before they are read', async () => {
  const stream = streamOf([4, 4], 8);
  const next = jest.spyOn(stream, 'next');
  const reader = new ByteReader(stream);
  await expect(reader.take(9)).rejects.toThrow('The file ends at byte 8, where 9 more should follow.');
  expect(next).not.toHaveBeenCalled();
  await reader.take(5);
  await expect(reader.take(4)).rejects.toThrow('The file ends at byte 8, where 4 more should follow.');
  expect(await reader.take(3)).toEqual(Uint8Array.of(6, 7, 8));
});

test('a file of unknown size that ends early says how much is missing', async () => {
  const reader = new ByteReader(streamOf([3, 2], null));
  await reader.take(1);
  await expect(reader.take(10)).rejects.toThrow('The file ends at byte 5, where 6 more should follow.');
});

test('a reader that is cancelled cancels its source, with the reason', () => {
  const stream = streamOf([], null);
  new ByteReader(stream).cancel('why');
  expect(stream.reasons).toEqual(['why']);
});

test('bytes are concatenated in order', () => {
  const whole = concatenate([Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3), Uint8Array.of(4)]);
  expect(whole).toEqual(Uint8Array.of(1, 2, 3, 4));
  expect(concatenate([])).toEqual(new Uint8Array(0));
});

test.each([
  ['{"a": 1, "b": 2}', []],
  ['{"a": 1, "a": 2}', ['a']],
  ['{"a" : 1, "b": 2, "a"\n\t\r : 3}', ['a']],
  ['{"a": {"a": 1}, "b": {"a": 2}}', []],
  ['{"a": {"b": 1, "b": 2}, "c": 3, "c": 4}', ['b', 'c']],
  ['{"a": {"b": 1}, "a": 2}', ['a']],
  ['{"a": "a", "b": "a", "c": ["a", "a"]}', []],
  ['{"a": "}", "a": "{"}', ['a']],
  ['{"x\\"y": 1, "x\\"y": 2, "\\u0061": 1, "a": 2}', ['x"y', 'a']],
  ['[{"a": 1}, {"a": 2}]', []],
  ['"a"', []],
])('the keys of %s that occur twice in one object are %j', (json, keys) => {
  expect(duplicateKeys(json)).toEqual(keys);
});

test.each([
  ['1', 0],
  ['[]', 1],
  ['{}', 1],
  ['{"a": [1, {"b": []}]}', 4],
  ['[[], [], [[]], []]', 3],
  ['["[[[", "\\"[", "\\\\", []]', 2],
  ['"[[[', 0],
  ['[{', 2],
  [']]][', 0],
])('%s is nested %d deep', (json, depth) => {
  expect(nesting(json)).toBe(depth);
});

test.each([
  [[], true],
  [['a', ''], true],
  [['a', 1], false],
  ['a', false],
  [null, false],
])('%j is a list of texts: %p', (value, isOne) => {
  expect(isTextList(value)).toBe(isOne);
});
