import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {
  type BlockFormatName,
  dequantize,
  FORMAT_NAMES,
  formatNamed,
} from '../../../src/extensions/quantized/formats/formats';
import {BLOCK, quantize4, quantize8} from '../../../src/extensions/quantized/formats/quantize';
import {randomFrom} from '../../attack/damage';

/** What `quants.py` computed: `test/python/make_quantized.py`. */
interface Expected {
  blocks: number;
  dequantized: Record<BlockFormatName, {first: number[]; sane: string; all: string}>;
  quantized: Record<'Q8_0' | 'Q4_0', {first: number[]; halves: number[]; all: string}>;
}

const EXPECTED = JSON.parse(readFileSync(join(__dirname, '../../fixtures/quantized/formats.json'), 'utf8')) as Expected;

/** Whole numbers of 32 bits from a seed. */
function drawn(seed: number, count: number): Float64Array {
  const next = randomFrom(seed);
  return Float64Array.from({length: count}, () => next() * 2 ** 32);
}

/** Where the scales of a block stand, whose sizes are made those of weights. */
const SCALES: Partial<Record<BlockFormatName, number[]>> = {
  ...{Q8_0: [0], Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208]},
};

function bytesFor(name: BlockFormatName, isSane: boolean): Uint8Array {
  const {bytes: size} = formatNamed(name)!;
  if (size === 2) {
    return new Uint8Array(Uint16Array.from({length: 2 ** 16}, (_, i) => i).buffer);
  }
  const bytes = Uint8Array.from(
    drawn(FORMAT_NAMES.indexOf(name) + 1, EXPECTED.blocks * size),
    value => value / 2 ** 24,
  );
  for (const place of isSane ? (SCALES[name] ?? []) : []) {
    for (let at = place + 1; at < bytes.length; at += size) {
      bytes[at] = (bytes[at]! & 0x87) | 0x18;
    }
  }
  return bytes;
}

function numbersOf(name: BlockFormatName, bytes: Uint8Array): Float32Array {
  const format = formatNamed(name)!;
  const count = bytes.length / format.bytes;
  const out = new Float32Array(count * format.numbers);
  dequantize(format, bytes, 0, count, out);
  return out;
}

/** All NaN count as one. */
function digest(values: Float32Array): string {
  const bits = new Uint32Array(values.buffer);
  return createHash('sha256')
    .update(Uint32Array.from(bits, (value, i) => (Number.isNaN(values[i]) ? 0x7fc00000 : value)))
    .digest('hex');
}

describe.each(FORMAT_NAMES)('%s', name => {
  const {first, sane, all} = EXPECTED.dequantized[name];

  test('has the numbers of quants.py', () => {
    const values = numbersOf(name, bytesFor(name, true));
    expect(Array.from(values.subarray(0, first.length))).toEqual(first);
    expect(digest(values)).toBe(sane);
  });

  test('has them for whatever the bytes are', () => {
    expect(digest(numbersOf(name, bytesFor(name, false)))).toBe(all);
  });

  test('is read from some block on, to some place', () => {
    const format = formatNamed(name)!;
    const bytes = bytesFor(name, true);
    const out = new Float32Array(2 * format.numbers + 3).fill(9);
    dequantize(format, bytes, 3 * format.bytes, 2, out, 1);
    const whole = numbersOf(name, bytes.slice(0, 5 * format.bytes));
    expect(Array.from(out)).toEqual([9, ...whole.subarray(3 * format.numbers), 9, 9]);
  });
});

test('there is no format of another name', () => {
  expect(formatNamed('Q2_K')).toBeUndefined();
  expect(formatNamed('constructor')).toBeUndefined();
});

describe.each([
  ['Q8_0', quantize8],
  ['Q4_0', quantize4],
] as const)('quantizing to %s', (name, quantize) => {
  const {bytes: size} = formatNamed(name)!;
  const {first, halves, all} = EXPECTED.quantized[name];

  test('gives the blocks of quants.py', () => {
    const numbers = drawn(77, EXPECTED.blocks * BLOCK);
    const values = Float32Array.from(numbers, (value, i) => {
      const [block, at] = [Math.floor(i / BLOCK), i % BLOCK];
      const special = {5: 0, 6: (at - 16) / 2, 7: (at - 15.5) * 8}[block];
      return special ?? (value % 11 === 0 ? 0 : (value / 2 ** 31 - 1) * 2 ** ((block % 24) - 20));
    });
    const blocks = new Uint8Array(EXPECTED.blocks * size);
    for (let i = 0; i < EXPECTED.blocks; i++) {
      expect(quantize(values.subarray(i * BLOCK, (i + 1) * BLOCK), blocks, i * size)).toBe(true);
    }
    expect(Array.from(blocks.subarray(0, size))).toEqual(first);
    expect(Array.from(blocks.subarray(6 * size, 7 * size))).toEqual(halves);
    expect(createHash('sha256').update(blocks).digest('hex')).toBe(all);
  });

  test.each([NaN, Infinity, 1e8])('%d has no block', value => {
    const values = new Float32Array(BLOCK).fill(value, 3, 4);
    expect(quantize(values, new Uint8Array(size), 0)).toBe(false);
  });

  test('a block of zeros is one of zeros again', () => {
    const bytes = new Uint8Array(size);
    expect(quantize(new Float32Array(BLOCK), bytes, 0)).toBe(true);
    expect(numbersOf(name, bytes).every(number => number === 0)).toBe(true);
  });
});
