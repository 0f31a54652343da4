import {base64Of, bytesOfBase64} from '../../../src/platform/formats/base64';
import {checksumOf} from '../../../src/platform/formats/checksum';
import {fromBfloat16, fromFloat16, toBfloat16, toFloat16} from '../../../src/platform/formats/halfFloats';
import {reshape, sizeOf, toTorch, transpose, type Values} from '../../../src/platform/formats/layout';
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

const view = new DataView(new ArrayBuffer(4));

function bitsOf(value: number): number {
  view.setFloat32(0, value);
  return view.getUint32(0);
}

function numberOf(bits: number): number {
  view.setUint32(0, bits);
  return view.getFloat32(0);
}

/**
 * The nearest of `candidates`, which ascend, to a number between two of them; of two equally near, the one at an even
 * place.
 */
function nearest(candidates: number[], value: number): number {
  const above = candidates.findIndex(candidate => candidate >= value);
  const [low, high] = [candidates[above - 1]!, candidates[above]!];
  if (value - low === high - value) {
    return (above - 1) % 2 === 0 ? low : high;
  }
  return value - low < high - value ? low : high;
}

describe('float16', () => {
  test.each([
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3555, 0.333251953125],
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x7e00, NaN],
  ])('the bits %p mean %p', (bits, value) => {
    expect(fromFloat16(bits)).toBe(value);
    expect(toFloat16(bitsOf(value))).toBe(bits);
  });

  test('every number survives a trip through float32', () => {
    const all = Array.from({length: 0x10000}, (_, bits) => bits).filter(bits => !Number.isNaN(fromFloat16(bits)));
    expect(all.map(bits => toFloat16(bitsOf(fromFloat16(bits))))).toEqual(all);
  });

  test('values round to the nearest, and from the middle to the even one', () => {
    const ascending = Array.from({length: 0x7c00}, (_, bits) => fromFloat16(bits));
    const middles = ascending.slice(1, 4000).map((high, i) => (high + ascending[i]!) / 2);
    const around = middles.flatMap(middle => [-1, 0, 1].map(step => numberOf(bitsOf(middle) + step)));
    const wrong = around.filter(value => {
      const expected = nearest(ascending, value);
      const [positive, negative] = [value, -value].map(each => fromFloat16(toFloat16(bitsOf(each))));
      return positive !== expected || negative !== -expected;
    });
    expect(wrong).toEqual([]);
  });

  test.each([
    [2 ** -25, 0], // the middle between 0 and the least number
    [numberOf(bitsOf(2 ** -25) + 1), 1],
    [65519, 0x7bff],
    [numberOf(bitsOf(65520) - 1), 0x7bff],
    [65520, 0x7c00],
    [1e-45, 0],
    [3e38, 0x7c00],
  ])('%p becomes the bits %p', (value, bits) => {
    expect(toFloat16(bitsOf(value))).toBe(bits);
  });

  test('a NaN stays one, whatever its payload', () => {
    expect(fromFloat16(toFloat16(0x7f800001))).toBeNaN();
    expect(fromFloat16(toFloat16(0xffffffff))).toBeNaN();
  });
});

describe('bfloat16', () => {
  test.each([
    [0x3f80, 1],
    [0xc000, -2],
    [0x0001, 2 ** -133],
    [0x7f80, Infinity],
    [0xff80, -Infinity],
    [0x8000, -0],
  ])('the bits %p mean %p', (bits, value) => {
    expect(numberOf(fromBfloat16(bits))).toBe(value);
    expect(toBfloat16(bitsOf(value))).toBe(bits);
  });

  test.each([
    ['below the middle', 0x3f807fff, 0x3f80],
    ['the middle, from an even number', 0x3f808000, 0x3f80],
    ['the middle, from an odd number', 0x3f818000, 0x3f82],
    ['above the middle', 0x3f808001, 0x3f81],
    ['the greatest float32, which rounds to infinity', 0x7f7fffff, 0x7f80],
    ['a subnormal in the middle, from an odd number', 0x00018000, 0x0002],
    ['a negative in the middle', 0xbf818000, 0xbf82],
  ])('%s', (_, float32, bfloat16) => {
    expect(toBfloat16(float32)).toBe(bfloat16);
  });

  test('a NaN stays one, whatever its payload', () => {
    expect(numberOf(fromBfloat16(toBfloat16(0x7f800001)))).toBeNaN();
    expect(numberOf(fromBfloat16(toBfloat16(0xffffffff)))).toBeNaN();
  });
});

/** 0, 1, 2, … in a shape. */
function counted(...shape: number[]): Values {
  return {shape, data: Float32Array.from({length: sizeOf(shape)}, (_, i) => i)};
}

test.each([
  [[], 1],
  [[3], 3],
  [[2, 3, 4], 24],
  [[2, 0], 0],
])('a tensor of shape %j has %d values', (shape, size) => {
  expect(sizeOf(shape)).toBe(size);
});

test.each([
  [
    [2, 3],
    [1, 0],
    [3, 2],
    [0, 3, 1, 4, 2, 5],
  ],
  [
    [2, 3],
    [0, 1],
    [2, 3],
    [0, 1, 2, 3, 4, 5],
  ],
  // x[i, j, k] = 6i + 2j + k, at [k, i, j].
  [
    [2, 3, 2],
    [2, 0, 1],
    [2, 2, 3],
    [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11],
  ],
  [
    [1, 3, 1],
    [2, 1, 0],
    [1, 3, 1],
    [0, 1, 2],
  ],
  [[4], [0], [4], [0, 1, 2, 3]],
])('axes of %j in the order %j give %j: %j', (shape, order, newShape, data) => {
  expect(transpose(counted(...shape), order)).toEqual({shape: newShape, data: Float32Array.from(data)});
});

test.each([
  [[3], [3], [0, 1, 2]],
  [
    [2, 3],
    [3, 2],
    [0, 3, 1, 4, 2, 5],
  ],
  // [space, in, out] → [out, in, space]: x[s, i, o] = 4s + 2i + o.
  [
    [2, 2, 2],
    [2, 2, 2],
    [0, 4, 2, 6, 1, 5, 3, 7],
  ],
  // [height, width, in, out] → [out, in, height, width].
  [
    [1, 2, 1, 3],
    [3, 1, 1, 2],
    [0, 3, 1, 4, 2, 5],
  ],
])('a weight of shape %j is of shape %j in PyTorch', (shape, newShape, data) => {
  expect(toTorch(counted(...shape))).toEqual({shape: newShape, data: Float32Array.from(data)});
});

test('the same values in another shape stay in their order', () => {
  const values = counted(2, 3);
  expect(reshape(values, [3, 2])).toEqual({shape: [3, 2], data: values.data});
});

const bytes = (...values: number[]) => Uint8Array.from(values).buffer;

// Of each checksum the first 32 bits are those of FNV-1a, whose numbers for some texts are published
// (draft-eastlake-fnv, appendix C).
test.each([
  ['', '811c9dc5'],
  ['a', 'e40c292c'],
  ['foobar', 'bf9cf968'],
])('the checksum of %j begins with its FNV-1a', (text, expected) => {
  expect(checksumOf(text).split('-')[0]).toBe(expected);
  expect(checksumOf(bytes(...Buffer.from(text))).split('-')[0]).toBe(expected);
});

test('a checksum says which letters and bytes there are, and in which order', () => {
  const all = [
    checksumOf('ab', bytes(1, 2)),
    checksumOf('ba', bytes(1, 2)),
    checksumOf('ab', bytes(2, 1)),
    checksumOf('ab', bytes(1, 2, 0)),
    checksumOf('ab', bytes(1)),
    checksumOf('ab'),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(checksumOf('ab', bytes(1, 2))).toBe(all[0]);
});

// Files hold checksums: those that earlier versions wrote must stay right. By hand, with
// b = ((b xor (code + place)) · 0x85ebca6b) mod 2³² from 0x01000193.
test('the other 32 bits count the place of each letter, from another start', () => {
  const expected = (codes: number[]) =>
    codes.reduce((b, code, i) => ((b ^ BigInt(code + i)) * 0x85ebca6bn) % 2n ** 32n, 0x01000193n).toString(16);
  expect(checksumOf('').split('-')[1]).toBe('1000193');
  expect(checksumOf('foobar').split('-')[1]).toBe(expected([...Buffer.from('foobar')]));
  expect(checksumOf(bytes(7, 200, 0)).split('-')[1]).toBe(expected([7, 200, 0]));
});
