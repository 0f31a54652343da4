import {type BlockMatrix, packedSize, readRows, rowBytes} from './blockMatrix';

/** How many rows are unpacked at a time. */
const ROWS = 256;

/**
 * Appends a row to a matrix for each list of rows: a copy of the row that is closest to their mean, of all rows where
 * the list is empty. A copy has the same bytes in every format.
 *
 * @returns the bytes as 32-bit integers.
 */
export function appendRows(matrix: BlockMatrix, bytes: Uint8Array, means: readonly (readonly number[])[]): Int32Array {
  const {rows, width} = matrix;
  const lists = new Map(means.map(list => [String(list), list]));
  const targets = [...lists.values()].map(list => meanOf(matrix, bytes, list));
  const closest = targets.map(() => ({row: 0, distance: Infinity}));
  eachRow(matrix, bytes, (row, values, at) => {
    targets.forEach((target, i) => {
      let distance = 0;
      for (let column = 0; column < width; column++) {
        distance += ((values[at + column] as number) - (target[column] as number)) ** 2;
      }
      const best = closest[i] as (typeof closest)[number];
      if (distance < best.distance) {
        Object.assign(best, {row, distance});
      }
    });
  });
  const size = rowBytes(matrix);
  const packed = new Int32Array(packedSize({...matrix, rows: rows + means.length}));
  const out = new Uint8Array(packed.buffer);
  out.set(bytes.subarray(0, rows * size));
  const names = [...lists.keys()];
  means.forEach((list, i) => {
    const {row = 0} = closest[names.indexOf(String(list))] ?? {};
    out.set(bytes.subarray(row * size, (row + 1) * size), (rows + i) * size);
  });
  return packed;
}

function meanOf(matrix: BlockMatrix, bytes: Uint8Array, list: readonly number[]): Float64Array {
  const sum = new Float64Array(matrix.width);
  const add = (values: Float32Array, at: number) => {
    for (let column = 0; column < sum.length; column++) {
      sum[column] = (sum[column] as number) + (values[at + column] as number);
    }
  };
  if (list.length === 0) {
    eachRow(matrix, bytes, (_, values, at) => {
      add(values, at);
    });
  } else {
    list.forEach(row => {
      add(readRows(matrix, bytes, row, 1), 0);
    });
  }
  return sum.map(value => value / (list.length || matrix.rows));
}

/** Visits all rows: the values of one begin at `at`. */
function eachRow(
  matrix: BlockMatrix,
  bytes: Uint8Array,
  visit: (row: number, values: Float32Array, at: number) => void,
): void {
  const {rows, width} = matrix;
  for (let first = 0; first < rows; first += ROWS) {
    const count = Math.min(ROWS, rows - first);
    const values = readRows(matrix, bytes, first, count);
    for (let i = 0; i < count; i++) {
      visit(first + i, values, i * width);
    }
  }
}
