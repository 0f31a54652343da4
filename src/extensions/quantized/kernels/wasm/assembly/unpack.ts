import {unpackPart} from './formats';

// The rows of a quantized matrix are whole blocks, `stride` bytes apart. They are unpacked in sub-blocks of 32 values.

/**
 * Unpacks rows `[rows, 32·sub-blocks]` from `source` on into contiguous rows of floats.
 *
 * @param format as in `formats.ts`.
 */
export function unpackRows(format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32, target: usize): void {
  for (let i = 0; i < rows; i++) {
    for (let subBlock = 0; subBlock < subBlocks; subBlock++) {
      unpackPart(format, source, subBlock, target, 32);
      target += 128;
    }
    source += stride;
  }
}

/**
 * Unpacks the columns of some sub-blocks, from sub-block `first` on, into panels of eight columns, `panel` bytes apart,
 * with a row for each row of the matrix: the right-hand side of a product with the rows as the inner axis.
 */
export function unpackColumns(
  format: i32, source: usize, stride: usize, rows: i32, first: i32, subBlocks: i32, target: usize, panel: usize,
): void {
  for (let i = 0; i < rows; i++) {
    let t = target;
    for (let subBlock = first; subBlock < first + subBlocks; subBlock++) {
      unpackPart(format, source, subBlock, t, panel);
      t += 4 * panel;
    }
    source += stride;
    target += 32;
  }
}
