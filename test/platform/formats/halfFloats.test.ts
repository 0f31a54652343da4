import {fromBfloat16, fromFloat16, toBfloat16, toFloat16} from '../../../src/platform/formats/halfFloats';

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
