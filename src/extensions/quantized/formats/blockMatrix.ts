import * as tf from '@tensorflow/tfjs';
import {type BlockFormat, dequantize} from './formats';
import {placeInFile} from '../streamed/streamedBlocks';
import {readRowsAt} from '../streamed/streamedFile';
import {BLOCK, type Quantize} from './quantize';

/**
 * A quantized matrix. Each row is a whole number of consecutive blocks; if the width is not a multiple of the block
 * size, the last one is padded with zeros. A row belongs to one output of a layer, or to one token of an embedding.
 */
export interface BlockMatrix {
  readonly format: BlockFormat;
  readonly rows: number;
  /** The number of columns. */
  readonly width: number;
}

export function rowBytes({format, width}: Omit<BlockMatrix, 'rows'>): number {
  return Math.ceil(width / format.numbers) * format.bytes;
}

/** The number of 32-bit integers that hold the bytes: the size of the tensor. */
export function packedSize(matrix: BlockMatrix): number {
  return Math.ceil((matrix.rows * rowBytes(matrix)) / 4);
}

/** Returns the bytes of a tensor of blocks; synchronous, since no GPU program has read it. */
export function bytesOf(blocks: tf.Tensor): Uint8Array {
  const packed = blocks.dataSync();
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
}

/** Returns `count` rows of a tensor of blocks as floats, `[count, width]`. Of one in a file, only they are read. */
export function rowsOf(blocks: tf.Tensor, matrix: BlockMatrix, first: number, count: number): Float32Array {
  const place = placeInFile(blocks);
  if (place === undefined) {
    return readRows(matrix, bytesOf(blocks), first, count);
  }
  const size = rowBytes(matrix);
  const bytes = new Uint8Array(count * size);
  readRowsAt(place, size, first, bytes);
  return readRows(matrix, bytes, 0, count);
}

/** Returns `count` rows from row `first` on as floats, `[count, width]`. */
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
 * Quantizes a matrix `[rows, width]` as 32-bit integers that hold its bytes.
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
  const packed = new Int32Array(packedSize({format, rows, width}));
  const bytes = new Uint8Array(packed.buffer);
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
  return packed;
}
