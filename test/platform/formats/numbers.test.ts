import {base64Of, bytesOfBase64} from '../../../src/platform/formats/base64';
import {checkNumbers, type FloatType, writeNumbers} from '../../../src/platform/formats/numbers';

function written(data: Float32Array | BigInt64Array, dtype: FloatType): {bytes: number[]; isFinite: boolean} {
  const view = new DataView(new ArrayBuffer(20));
  const isFinite = writeNumbers(view, 2, data, dtype);
  return {bytes: [...new Uint8Array(view.buffer)], isFinite};
}

test.each<[FloatType, number[], number[]]>([
  ['F32', [1, -2], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]],
  ['F16', [1, -2, 65504], [0, 0x3c, 0, 0xc0, 0xff, 0x7b]],
  ['BF16', [1, -2, 3.140625], [0x80, 0x3f, 0, 0xc0, 0x49, 0x40]],
])('numbers are written as %s, little-endian, from an offset', (dtype, numbers, expected) => {
  // From the middle of a buffer, as a view may be.
  const data = new Float32Array([9, ...numbers, 9]).subarray(1, 1 + numbers.length);
  const {bytes, isFinite} = written(data, dtype);
  expect(isFinite).toBe(true);
  expect(bytes).toEqual([0, 0, ...expected, ...new Array<number>(18 - expected.length).fill(0)]);
});

test('integers are written with 64 bits', () => {
  const {bytes, isFinite} = written(BigInt64Array.of(258n, -1n), 'F32');
  expect(isFinite).toBe(true);
  expect(bytes).toEqual([0, 0, 2, 1, 0, 0, 0, 0, 0, 0, ...new Array<number>(8).fill(255), 0, 0]);
});

test.each<[FloatType, number, boolean]>([
  ['F32', 3e38, true],
  ['F32', Infinity, false],
  ['F32', NaN, false],
  ['F16', 65519, true],
  ['F16', 65520, false],
  ['F16', -Infinity, false],
  ['BF16', 3.38e38, true],
  ['BF16', 3.4e38, false],
  ['BF16', NaN, false],
])('as %s, %d is written as a finite number: %p', (dtype, value, isFinite) => {
  expect(written(Float32Array.of(value, 1), dtype).isFinite).toBe(isFinite);
  expect(written(Float32Array.of(1, value), dtype).isFinite).toBe(isFinite);
});

test('numbers that a type does not have are refused by name, all at once', () => {
  const tensors = (value: number): [string, {data: Float32Array | BigInt64Array}][] => [
    ['one', {data: Float32Array.of(0, value)}],
    ['two', {data: Float32Array.of(-value)}],
    ['three', {data: Float32Array.of(1)}],
    ['four', {data: BigInt64Array.of(2n ** 60n)}],
  ];
  const check = (value: number, dtype?: FloatType, allowNonFinite?: boolean) => () => {
    checkNumbers(tensors(value), dtype, {allowNonFinite});
  };
  expect(check(65519, 'F16')).not.toThrow();
  expect(check(65520, 'F16')).toThrow('one, two: values too large for float16. Save as float32.');
  expect(check(65520, 'F16', true)).toThrow('too large for float16');
  expect(check(3.39e38, 'BF16')).not.toThrow();
  expect(check(3.4e38, 'BF16')).toThrow('one, two: values too large for bfloat16.');
  expect(check(3.4e38)).not.toThrow();
  for (const value of [NaN, Infinity]) {
    expect(check(value)).toThrow(/^one, two: NaN or infinite, so nothing is written\./);
    expect(check(value, 'F16')).not.toThrow('too large');
    expect(check(value, 'F32', true)).not.toThrow();
  }
});

test('base 64 is that of Node, also of many bytes', () => {
  for (const length of [0, 1, 2, 3, 0x8000, 0x8001, 100_000]) {
    const bytes = Uint8Array.from({length}, (_, i) => (i * 7) % 256);
    const text = Buffer.from(bytes).toString('base64');
    expect(base64Of(bytes)).toBe(text);
    expect(Buffer.compare(bytesOfBase64(text), bytes)).toBe(0);
  }
  expect(() => bytesOfBase64('?')).toThrow();
});
