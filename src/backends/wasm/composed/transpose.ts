import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from '../../shared/kernel';

/** Matrices with fewer rows or columns than these gain nothing. */
const FEWEST_ROWS = 256;
const FEWEST_COLUMNS = 16;

/** Rows in a block: few enough that its columns stay in the cache. */
const BLOCK = 64;
const SMALLEST_BLOCK = 24;
const LARGEST_BLOCK = 144;

/**
 * `Transpose`, in blocks of rows where it is that of one or several tall matrices: column by column, the backend's own
 * runs through the whole matrix and out of the cache.
 *
 * That of nothing is divided by 0 in the backend, which ends in a trap.
 *
 *     [rows, columns] → [blocks, columns, block] → [columns, blocks, block]
 */
export const transposeKernel = wrappedKernel<{x: tf.TensorInfo}, {perm: number[]}>(tf.Transpose, stock => call => {
  const {inputs, attrs, backend} = call;
  if (inputs.x.shape.includes(0)) {
    return backend.makeOutput(
      attrs.perm.map(axis => inputs.x.shape[axis] as number),
      inputs.x.dtype,
    );
  }
  const matrices = asMatrices(inputs.x.shape, attrs.perm);
  const block = matrices && blockOf(matrices);
  if (!block) {
    return stock(call);
  }
  const {count, rows, columns} = matrices;
  const blocks = rows / block;
  const {dataId, dtype} = inputs.x;
  const transposed = stock({
    ...call,
    inputs: {x: {dataId, dtype, shape: [count * blocks, block, columns]}},
    attrs: {perm: [0, 2, 1]},
  });
  const out = stock({
    ...call,
    inputs: {x: {...transposed, shape: [count, blocks, columns, block]}},
    attrs: {perm: [0, 2, 1, 3]},
  });
  backend.disposeData(transposed.dataId);
  return {...out, shape: attrs.perm.map(axis => inputs.x.shape[axis] as number)};
});

interface Matrices {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

/** The matrices that a permutation transposes, if it only swaps two groups of axes after leading ones that stay. */
function asMatrices(shape: readonly number[], perm: readonly number[]): Matrices | undefined {
  const first = perm.findIndex((axis, i) => axis !== i);
  if (first < 0) {
    return undefined;
  }
  const middle = perm[first] as number;
  const rank = shape.length;
  const swaps = perm.every((axis, i) => i < first || axis === first + ((middle - first + i - first) % (rank - first)));
  return swaps
    ? {
        count: tf.util.sizeFromShape(shape.slice(0, first)),
        rows: tf.util.sizeFromShape(shape.slice(first, middle)),
        columns: tf.util.sizeFromShape(shape.slice(middle)),
      }
    : undefined;
}

/** A number of rows that divides all of them and is near `BLOCK`; 0 where no number does, or where it would not pay. */
function blockOf({rows, columns}: Matrices): number {
  if (rows < FEWEST_ROWS || columns < FEWEST_COLUMNS) {
    return 0;
  }
  for (let distance = 0; distance <= LARGEST_BLOCK - BLOCK; distance++) {
    for (const block of [BLOCK - distance, BLOCK + distance]) {
      if (block >= SMALLEST_BLOCK && rows % block === 0) {
        return block;
      }
    }
  }
  return 0;
}
