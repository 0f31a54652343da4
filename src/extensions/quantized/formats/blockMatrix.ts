import * as tf from '@tensorflow/tfjs';
import {type BlockFormat, dequantize} from './formats';
import {BLOCK, type Quantize} from './quantize';

/**
 * A matrix in blocks. Each row is whole blocks, one after the other; where its width is no whole number of them, the
 * last one ends in zeros. A row is an output of a layer, or a word of a table.
 */
export interface BlockMatrix {
  readonly format: BlockFormat;
  readonly rows: number;
  /** How many numbers a row has. */
  readonly width: number;
}

/** How many bytes a row takes. */
export function rowBytes({format, width}: Omit<BlockMatrix, 'rows'>): number {
  return Math.ceil(width / format.numbers) * format.bytes;
}

/** How many whole numbers of 32 bits hold the bytes: what a tensor of blocks consists of. */
export function wordCount(matrix: BlockMatrix): number {
  return Math.ceil((matrix.rows * rowBytes(matrix)) / 4);
}

/**
 * The bytes of a tensor of blocks. No program of a graphics card ever reads it, so that it stays where it was made, and
 * is there at once.
 */
export function bytesOf(blocks: tf.Tensor): Uint8Array {
  const words = blocks.dataSync();
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** Some rows as numbers, `[count, width]`, the first of them row `first`. */
export function readRows(matrix: BlockMatrix, bytes: Uint8Array, first: number, count: number): Float32Array {
  const {format, width} = matrix;
  const blocks = Math.ceil(width / format.numbers);
  const padded = blocks * format.numbers;
  const size = rowBytes(matrix);
  const out = new Float32Array(count * width);
  if (padded === width) {
    dequantize(format, bytes, first * size, count * blocks, out);
    return out;
  }
  const row = new Float32Array(padded);
  for (let i = 0; i < count; i++) {
    dequantize(format, bytes, (first + i) * size, blocks, row);
    out.set(row.subarray(0, width), i * width);
  }
  return out;
}

/**
 * Quantizes a matrix `[rows, width]` as words of blocks.
 *
 * @param valueAt returns the value at a row and a column.
 * @param onRow is awaited before a row.
 * @returns `undefined` if a value is not finite, or too large for the scale of a block.
 */
export async function quantized(
  {format, rows, width}: BlockMatrix,
  quantize: Quantize,
  valueAt: (row: number, column: number) => number,
  onRow: (row: number) => Promise<void>,
): Promise<Int32Array | undefined> {
  const words = new Int32Array(wordCount({format, rows, width}));
  const bytes = new Uint8Array(words.buffer);
  const values = new Float32Array(BLOCK);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    await onRow(row);
    for (let first = 0; first < width; first += BLOCK, at += format.bytes) {
      const count = Math.min(BLOCK, width - first);
      values.fill(0, count);
      for (let i = 0; i < count; i++) {
        values[i] = valueAt(row, first + i);
      }
      if (!quantize(values, bytes, at)) {
        return undefined;
      }
    }
  }
  return words;
}
