import * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../../platform/errors';
import {capabilities} from '../../../backends/shared/capabilities';
import {embeddingOp} from '../../../core/ops/embedding';
import {type Linear, product} from '../../../core/ops/factors';
import {denseOp} from '../../../core/ops/linear';
import {type BlockMatrix, bytesOf, readRows, rowsOf} from '../formats/blockMatrix';
import {quantizedKernels} from '../kernels/quantizedKernels';

// Operations with a frozen quantized matrix, which is never unpacked as a whole: our kernels unpack what they multiply
// with, and other backends unpack a few rows at a time.

/** About how many values are unpacked at a time, here or on the GPU. */
const PIECE = 2 ** 20;
const CARD_PIECE = 2 ** 22;

/** The product with a transposed quantized matrix, `[n, width] · [rows, width]ᵀ`; with any other matrix as it is. */
export function blockProduct(blocks: tf.Tensor, matrix: BlockMatrix): Linear {
  return {
    isProduct: true,
    forward: (x, kernel, bias, activation) =>
      kernel === blocks ? multiply(x as tf.Tensor2D, blocks, matrix) : denseOp.forward(x, kernel, bias, activation),
    inputGradient: (dz, kernel, inputShape) =>
      kernel === blocks
        ? multiplyBack(dz as tf.Tensor2D, blocks, matrix)
        : denseOp.inputGradient(dz, kernel, inputShape),
    kernelGradient: (x, dz, shape) => denseOp.kernelGradient(x, dz, shape),
  };
}

/** The look-up in a quantized table: indices `[n, 1]` → `[n, width]`; in any other table as it is. */
export function blockLookUp(blocks: tf.Tensor, matrix: BlockMatrix): Linear {
  return {
    ...embeddingOp,
    forward: (x, table, bias, activation) =>
      table === blocks ? lookUp(x, blocks, matrix) : embeddingOp.forward(x, table, bias, activation),
  };
}

/** `x·Wᵀ`. */
export function multiply(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const byPieces = () =>
    tf.tidy(() =>
      tf.concat2d(
        inPieces(blocks, matrix, rows => product(x, rows, false, true)),
        1,
      ),
    );
  return quantizedKernels(matrix.format)?.multiply?.(x, blocks, matrix) ?? byPieces();
}

/** `dz·W`. */
export function multiplyBack(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const byPieces = () =>
    tf.tidy(() =>
      inPieces(blocks, matrix, (rows, first) => product(tf.slice2d(dz, [0, first], [-1, rows.shape[0]]), rows)).reduce(
        (sum, partialSum) => tf.add(sum, partialSum),
      ),
    );
  return quantizedKernels(matrix.format)?.multiplyBack?.(dz, blocks, matrix) ?? byPieces();
}

function lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  if (capabilities().readsByPromise === true) {
    return quantizedKernels(matrix.format)?.lookUp(numbers, blocks, matrix) ?? lookUpInPieces(numbers, blocks, matrix);
  }
  const rows = numbers.dataSync();
  const missing = rows.find(row => !(row >= 0 && row < matrix.rows));
  if (missing !== undefined) {
    throw misfitError(`Index ${missing} is outside of a table of ${matrix.rows} rows.`);
  }
  const looked = quantizedKernels(matrix.format)?.lookUp(numbers, blocks, matrix);
  if (looked !== undefined) {
    return looked;
  }
  const values = new Float32Array(rows.length * matrix.width);
  rows.forEach((row, i) => values.set(rowsOf(blocks, matrix, row, 1), i * matrix.width));
  return tf.tensor2d(values, [rows.length, matrix.width]);
}

/** Like `lookUp`, where indices cannot be read synchronously: each piece of the table contributes its rows. */
function lookUpInPieces(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  return tf.tidy(() => {
    const wanted = tf.reshape(numbers, [numbers.size]);
    const zeros: tf.Tensor = tf.zeros([wanted.size, matrix.width]);
    return inPieces(blocks, matrix, (rows, first) => {
      const [count] = rows.shape;
      const index = tf.sub(wanted, tf.scalar(first, 'int32'));
      const isHere = tf.logicalAnd(tf.greaterEqual(index, 0), tf.less(index, count));
      const looked = tf.gather(rows, tf.cast(tf.clipByValue(index, 0, count - 1), 'int32'));
      return tf.where(tf.expandDims(isHere, 1), looked, tf.zerosLike(looked));
    }).reduce((sum, rowsOfPiece) => tf.add(sum, rowsOfPiece), zeros) as tf.Tensor2D;
  });
}

/** Calls `compute` for a few rows at a time, `[count, width]`, starting at row `first`. */
function inPieces<T extends tf.Tensor>(
  blocks: tf.Tensor,
  matrix: BlockMatrix,
  compute: (rows: tf.Tensor2D, first: number) => T,
): T[] {
  const kernels = quantizedKernels(matrix.format);
  const most = Math.max(1, Math.floor((kernels?.unpack ? CARD_PIECE : PIECE) / matrix.width));
  const rowsBetween = (first: number, count: number) =>
    kernels?.unpack?.(blocks, matrix, first, count) ??
    tf.tensor2d(rowsOf(blocks, matrix, first, count), [count, matrix.width]);
  const results: T[] = [];
  for (let first = 0; first < matrix.rows; first += most) {
    const count = Math.min(most, matrix.rows - first);
    results.push(tf.tidy(() => compute(rowsBetween(first, count), first)));
  }
  return results;
}

/** The whole matrix as float32, `[rows, width]`: for a merge. */
export function wholeMatrix(blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  return tf.tensor2d(readRows(matrix, bytesOf(blocks), 0, matrix.rows), [matrix.rows, matrix.width]);
}
