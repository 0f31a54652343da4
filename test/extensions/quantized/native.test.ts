import * as tf from '@tensorflow/tfjs';
import {setQuantizedActivations} from 'tfjs-lora/quantized';
import 'tfjs-lora/transformers';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {type BlockMatrix, readRows, rowBytes, packedSize} from '../../../src/extensions/quantized/formats/blockMatrix';
import {FORMAT_NAMES, formatNamed} from '../../../src/extensions/quantized/formats/formats';
import {quantizedKernels} from '../../../src/extensions/quantized/kernels/quantizedKernels';
import {blockLookUp, multiply, multiplyBack} from '../../../src/extensions/quantized/ops/blockOps';
import {transformerKernels} from '../../../src/extensions/transformers/kernels/transformer';
import {randomFrom} from '../../attack/damage';
import {numbers, random} from '../../helpers';

/** A matrix of random blocks whose numbers are between −1 and 1 or so. */
function matrixOf(name: string, rows: number, width: number, seed: number): {matrix: BlockMatrix; blocks: tf.Tensor} {
  const format = formatNamed(name)!;
  const matrix = {format, rows, width};
  const packed = new Int32Array(packedSize(matrix));
  const bytes = new Uint8Array(packed.buffer);
  const next = randomFrom(seed);
  packed.forEach((_, i) => (packed[i] = next() * 2 ** 32));
  // Scales of ± 2^-7 to 2^-6, and floats of that size.
  for (let at = 0; at < rows * rowBytes(matrix); at += format.bytes) {
    const places = name === 'Q6_K' ? [209] : format.numbers === 1 ? [format.bytes - 1] : [1, 3];
    for (const place of places.filter(byte => byte === 1 || /_1|_K|F/.test(name))) {
      bytes[at + place] = (bytes[at + place]! & 0x87) | (/32|BF/.test(name) ? 0x38 : 0x20);
    }
  }
  return {matrix, blocks: tf.tensor1d(packed, 'int32')};
}

function whole(blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const bytes = new Uint8Array(blocks.dataSync().buffer);
  return tf.tensor2d(readRows(matrix, bytes, 0, matrix.rows), [matrix.rows, matrix.width]);
}

describe.each(FORMAT_NAMES)('%s', name => {
  test.each([
    [1, 37, 256],
    [2, 9, 512],
    [3, 2051, 256],
    [4, 5, 1280],
    [5, 130, 256],
    [6, 4, 256],
    [7, 13, 512],
    [8, 11, 256],
    [9, 17, 768],
    [16, 5, 512],
    [17, 5, 512],
    [70, 33, 768],
  ])('%i rows with a matrix of %i × %i by our module', (count, rows, width) => {
    const {matrix, blocks} = matrixOf(name, rows, width, rows);
    const [x, dz] = [random<tf.Rank.R2>([count, width], 1), random<tf.Rank.R2>([count, rows], 2)];
    const own = quantizedKernels(matrix.format)!;
    const w = whole(blocks, matrix);
    const close = (actual: tf.Tensor | undefined, expected: tf.Tensor) => {
      expect(actual!.shape).toEqual(expected.shape);
      const largest = Math.max(...numbers(expected).map(Math.abs));
      expect(numbers(actual!)).toBeAllClose(numbers(expected), {rtol: 0, atol: 3e-6 * largest});
    };
    close(own.multiply!(x, blocks, matrix), tf.matMul(x, w, false, true));
    close(own.multiplyBack!(dz, blocks, matrix), tf.matMul(dz, w));
    const places = tf.tensor1d([3, 0, rows - 1, 3], 'int32');
    expect(numbers(own.lookUp(places, blocks, matrix)!)).toEqual(numbers(tf.gather(w, places)));
  });
});

test.each(FORMAT_NAMES.filter(name => formatNamed(name)!.numbers > 1))(
  'one row of zeros but for a value picks the values of %s',
  name => {
    const {matrix, blocks} = matrixOf(name, 3, 256, 9);
    const w = whole(blocks, matrix);
    const wanted = numbers(w);
    const largest = Math.max(...wanted.map(Math.abs));
    for (const place of [0, 1, 6, 15, 16, 31, 32, 100, 255]) {
      const x = tf.tensor2d(
        [...Array(256).keys()].map(i => (i === place ? 3 : 0)),
        [1, 256],
      );
      const picked = [0, 1, 2].map(row => 3 * wanted[256 * row + place]!);
      // The integers count from their zero: their products with the value are subtracted from each other.
      expect(numbers(multiply(x, blocks, matrix))).toBeAllClose(picked, {rtol: 0, atol: 1e-6 * largest});
    }
  },
);

test.each(['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K', 'F16', 'BF16'])(
  'a row with an infinite scale or value of %s has no finite product',
  name => {
    const {matrix, blocks} = matrixOf(name, 2, 256, 10);
    const packed = new Int32Array(blocks.dataSync());
    const [infinity, at] = [name === 'BF16' ? 0x7f80 : 0x7c00, name === 'Q6_K' ? 104 : 0];
    new Uint16Array(packed.buffer)[at] = infinity;
    const x = tf.ones<tf.Rank.R2>([1, 256]);
    const [first, second] = numbers(multiply(x, tf.tensor1d(packed, 'int32'), matrix));
    expect([Number.isFinite(first), Number.isFinite(second)]).toEqual([false, true]);
  },
);

test('a matrix that takes more than one round of the threads', () => {
  // Forward a round has 2,728 rows of the matrix, back 3 · 2,048.
  const {matrix, blocks} = matrixOf('Q4_0', 6200, 4096, 6);
  const bytes = new Uint8Array(blocks.dataSync().buffer);
  const places = [0, 2727, 2728, 6143, 6144, 6199];
  const oneHot = (length: number) => {
    const ones = tf.oneHot(tf.mod(tf.tensor1d(places, 'int32'), tf.scalar(length, 'int32')), length);
    return tf.cast(ones, 'float32') as tf.Tensor2D;
  };
  const rows = places.map(row => [...readRows(matrix, bytes, row, 1)].map(number => number + 0)); // −0 becomes 0
  const back = quantizedKernels(matrix.format)!.multiplyBack!(oneHot(6200), blocks, matrix)!;
  expect(numbers(back)).toEqual(rows.flat());
  const forward = quantizedKernels(matrix.format)!.multiply!(oneHot(4096), blocks, matrix)!;
  const columns = numbers(tf.gather(forward, tf.tensor1d(places, 'int32'), 1)); // [column, row]
  expect(columns).toEqual(places.flatMap(column => rows.map(row => row[column % 4096]!)));
});

test.each(['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q4_K', 'Q6_K'])(
  'up to 16 rows with %s in a planned pass have the bits of each alone',
  name => {
    const {matrix, blocks} = matrixOf(name, 67, 512, 3);
    const own = quantizedKernels(matrix.format)!;
    const memory = transformerKernels()!.row!;
    expect([16, 17].map(count => own.rowProducts!.takes(matrix, count))).toEqual([true, false]);
    const x = random<tf.Rank.R2>([16, 512], 1);
    const alone = tf.unstack(x).map(row => own.multiply!(tf.reshape(row, [1, 512]), blocks, matrix)!);
    const out = tf.zeros([16, 67]);
    own.rowProducts!.multiply(memory.at(x), 16, [{blocks, matrix, to: memory.at(out)}]);
    expect(numbers(out)).toEqual(numbers(tf.concat(alone)));
  },
);

test.each(['Q8_0', 'Q4_0'])('rows of %s that end in the middle of a block', name => {
  const {matrix, blocks} = matrixOf(name, 21, 70, 5);
  const bytes = new Uint8Array(blocks.dataSync().buffer);
  // What lies beyond the width is zero in a matrix that was quantized.
  for (let row = 0; row < 21; row++) {
    for (let i = 6; i < 32; i++) {
      const at = row * rowBytes(matrix) + 2 * matrix.format.bytes + 2;
      if (name === 'Q8_0') {
        bytes[at + i] = 0;
      } else {
        const [byte, shift] = [at + (i & 15), i < 16 ? 0 : 4];
        bytes[byte] = (bytes[byte]! & (shift === 0 ? 0xf0 : 0x0f)) | (8 << shift);
      }
    }
  }
  const kept = tf.tensor1d(new Int32Array(bytes.buffer), 'int32');
  const w = whole(kept, matrix);
  for (const count of [1, 2, 7]) {
    const [x, dz] = [random<tf.Rank.R2>([count, 70], 1), random<tf.Rank.R2>([count, 21], 2)];
    expect(numbers(multiply(x, kept, matrix))).toBeAllClose(numbers(tf.matMul(x, w, false, true)), {atol: 1e-4});
    expect(numbers(multiplyBack(dz, kept, matrix))).toBeAllClose(numbers(tf.matMul(dz, w)), {atol: 1e-4});
  }
});

test('a product back over many rows whose terms almost cancel is that of float64', () => {
  const matrix = {format: formatNamed('F16')!, rows: 49_152, width: 32};
  const packed = new Int32Array(packedSize(matrix));
  new Uint16Array(packed.buffer).forEach((_, i, halves) => (halves[i] = 0x3c00 + ((7919 * i) % 41))); // 1 to 1.04
  const blocks = tf.tensor1d(packed, 'int32');
  const raw = Array.from({length: matrix.rows}, (_, i) => 1 + Math.sin(12.9898 * i) / 2);
  const sum = raw.reduce((all, value) => all + value, 0);
  const dz = Float32Array.from(raw, (value, i) => value / sum - (i === 34_567 ? 1 : 0));
  const w = whole(blocks, matrix).dataSync();
  const expected = Array.from({length: matrix.width}, (_, column) =>
    dz.reduce((all, value, row) => all + value * w[row * matrix.width + column]!, 0),
  );
  const actual = quantizedKernels(matrix.format)!.multiplyBack!(tf.tensor2d(dz, [1, matrix.rows]), blocks, matrix)!;
  expect(numbers(actual)).toBeAllClose(expected, {rtol: 0, atol: 2e-6});
});

test.each(['F16', 'BF16', 'F32'])('rows of %s that are no whole parts are computed without our module', name => {
  const {matrix, blocks} = matrixOf(name, 5, 7, 3);
  const [x, dz] = [random<tf.Rank.R2>([4, 7], 1), random<tf.Rank.R2>([4, 5], 2)];
  expect(quantizedKernels(matrix.format)!.multiply!(x, blocks, matrix)).toBeUndefined();
  const w = whole(blocks, matrix);
  expect(numbers(multiply(x, blocks, matrix))).toBeAllClose(numbers(tf.matMul(x, w, false, true)), {atol: 1e-5});
  expect(numbers(multiplyBack(dz, blocks, matrix))).toBeAllClose(numbers(tf.matMul(dz, w)), {atol: 1e-5});
});

test('without our code there are no kernels, and pieces give the same', async () => {
  const {matrix, blocks} = matrixOf('Q4_K', 3000, 512, 8);
  const x = random<tf.Rank.R2>([3, 512], 1);
  const [forward, back] = [numbers(multiply(x, blocks, matrix)), random<tf.Rank.R2>([3, 3000], 2)];
  const backward = numbers(multiplyBack(back, blocks, matrix));
  await withoutOwnCode(() => {
    expect(quantizedKernels(matrix.format)).toBeUndefined();
    expect(numbers(multiply(x, blocks, matrix))).toBeAllClose(forward, {atol: 1e-3});
    expect(numbers(multiplyBack(back, blocks, matrix))).toBeAllClose(backward, {atol: 1e-3});
  });
});

test('a row that is not there is refused', () => {
  const {matrix, blocks} = matrixOf('Q8_0', 5, 32, 3);
  const rows = tf.tensor2d([[1], [5]], [2, 1], 'int32');
  expect(() => blockLookUp(blocks, matrix).forward(rows, blocks, null, 'linear')).toThrow(
    'Index 5 is outside of a table of 5 rows.',
  );
});

describe('with activations of 8 bits', () => {
  beforeAll(() => {
    setQuantizedActivations('int8');
  });
  afterAll(() => {
    setQuantizedActivations('float32');
  });

  /** Rows as they are rounded: in groups of 32, to multiples of the largest magnitude by 127. */
  const rounded = (x: tf.Tensor2D) => {
    const values = numbers(x);
    const width = x.shape[1];
    const groupOf = (i: number) => {
      const begin = i - ((i % width) % 32);
      return values.slice(begin, Math.min(begin + 32, i - (i % width) + width));
    };
    const scaleOf = (i: number) => Math.max(...groupOf(i).map(Math.abs)) / 127;
    return tf.tensor2d(
      values.map((value, i) => (scaleOf(i) === 0 ? 0 : Math.round(value / scaleOf(i)) * scaleOf(i))),
      x.shape,
    );
  };

  test.each(['Q8_0', 'Q4_0', 'Q4_1', 'Q4_K', 'Q6_K'])(
    '%s is multiplied with up to four rows that are rounded',
    name => {
      for (const [count, rows, width] of [
        [1, 37, 512],
        [2, 9, 256],
        [4, 3, 768],
        [5, 130, 256],
      ] as const) {
        const {matrix, blocks} = matrixOf(name, rows, width, rows);
        const x = random<tf.Rank.R2>([count, width], 1);
        // More rows are not rounded: in floats they take no longer.
        const expected = tf.matMul(count > 4 ? x : rounded(x), whole(blocks, matrix), false, true);
        const largest = Math.max(...numbers(expected).map(Math.abs));
        expect(numbers(multiply(x, blocks, matrix))).toBeAllClose(numbers(expected), {rtol: 0, atol: 3e-6 * largest});
      }
    },
  );

  test.each(['Q5_0', 'Q5_1', 'Q5_K', 'F16', 'F32'])('%s is multiplied with the rows as they are', name => {
    const {matrix, blocks} = matrixOf(name, 5, 256, 3);
    const x = random<tf.Rank.R2>([1, 256], 1);
    const expected = numbers(tf.matMul(x, whole(blocks, matrix), false, true));
    const largest = Math.max(...expected.map(Math.abs));
    expect(numbers(multiply(x, blocks, matrix))).toBeAllClose(expected, {rtol: 0, atol: 3e-6 * largest});
  });

  test('rows of zeros, of the smallest values, and with one that is not finite', () => {
    const {matrix, blocks} = matrixOf('Q4_1', 3, 64, 4);
    const products = (x: number[]) => numbers(multiply(tf.tensor2d(x, [1, 64]), blocks, matrix));
    expect(products(new Array<number>(64).fill(0))).toBeAllClose([0, 0, 0]);
    expect(products(new Array<number>(64).fill(1e-44))).toBeAllClose([0, 0, 0]);
    for (const wrong of [NaN, Infinity, -Infinity]) {
      expect(products([...new Array<number>(63).fill(1), wrong])).toEqual([NaN, NaN, NaN]);
    }
  });

  test('while a gradient is taken, rows are not rounded', () => {
    const {matrix, blocks} = matrixOf('Q4_0', 4, 64, 4);
    const x = random<tf.Rank.R2>([1, 64], 1);
    const exact = numbers(tf.matMul(x, whole(blocks, matrix), false, true));
    let taken: number[] = [];
    tf.grad(y => {
      taken = numbers(multiply(x, blocks, matrix));
      return tf.sum(y);
    })(x);
    expect(taken).toBeAllClose(exact, {rtol: 0, atol: 1e-5});
    expect(numbers(multiply(x, blocks, matrix))).not.toBeAllClose(exact, {rtol: 0, atol: 1e-5});
  });
});

test('other types of activations are refused', () => {
  expect(() => {
    setQuantizedActivations('int4' as 'int8');
  }).toThrow("setQuantizedActivations takes 'float32' or 'int8', got \"int4\".");
});
