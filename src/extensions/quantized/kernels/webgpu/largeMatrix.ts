import * as tf from '@tensorflow/tfjs';
import {integersOnCard, mostBytesOfBinding, runProgram} from '../../../../backends/webgpu/program';
import {dataInParts, keepingNumbers} from '../../../../platform/tfjs/cardData';
import {type BlockMatrix, packedSize, rowBytes} from '../../formats/blockMatrix';
import type {AdaptedMatrix} from '../quantizedKernels';

// A matrix that is larger than a device's largest storage buffer is stored on the card in parts.

/** The most storage buffers that any device lets a program have. */
export const MAX_BUFFERS = 8;

/** Runs a program. The CPU fallback and reading blocks need their data synchronously, but not that of parts. */
export function runWith(blocks: readonly tf.Tensor[], ...[program, call]: Parameters<typeof runProgram>): tf.Tensor[] {
  const tensors = blocks.filter(buffer => buffer instanceof tf.Tensor);
  const run = tensors.reduceRight(
    (inner, tensor) => () => keepingNumbers(tensor, inner),
    () => runProgram(program, call),
  );
  return run();
}

/** Whether a matrix is larger than what a program can read as one. */
export function isLarge(matrix: BlockMatrix): boolean {
  return 4 * packedSize(matrix) > mostBytesOfBinding();
}

/** The most parts of a matrix that a program reads at once. */
const MAX_BUFFERS_OF_MATRIX = MAX_BUFFERS - 2;

/** A matrix in parts that programs can read, in groups of as many as a program reads, with their first rows. */
export function groupsOf(blocks: tf.Tensor, matrix: BlockMatrix): {first: number; parts: AdaptedMatrix[]}[] {
  if (!isLarge(matrix)) {
    return [{first: 0, parts: [{blocks, matrix, factors: null}]}];
  }
  const size = rowBytes(matrix);
  // Each part begins at a whole integer.
  const rows = Math.max(4, 4 * Math.floor(mostBytesOfBinding() / (4 * size)));
  const firsts = Array.from({length: Math.ceil(matrix.rows / rows)}, (_, i) => i * rows);
  const data = dataInParts(blocks, () => {
    const packed = blocks.dataSync<'int32'>();
    return firsts.map(first => integersOnCard(packed.subarray((first * size) / 4, ((first + rows) * size) / 4)));
  });
  const parts = firsts.map((first, i): AdaptedMatrix => {
    const slice = {...matrix, rows: Math.min(rows, matrix.rows - first)};
    return {blocks: data[i] as tf.Tensor, matrix: slice, factors: null};
  });
  return Array.from({length: Math.ceil(parts.length / MAX_BUFFERS_OF_MATRIX)}, (_, i) => ({
    first: i * MAX_BUFFERS_OF_MATRIX * rows,
    parts: parts.slice(i * MAX_BUFFERS_OF_MATRIX, (i + 1) * MAX_BUFFERS_OF_MATRIX),
  }));
}
