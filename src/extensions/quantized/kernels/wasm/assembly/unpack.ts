import {unpackPart} from './formats';

// The rows of a quantized matrix are whole blocks, `stride` bytes apart. They are unpacked in parts of 32 values.

/**
 * Unpacks rows `[rows, 32·parts]` from `source` on into contiguous rows of floats.
 *
 * @param format as in `formats.ts`.
 */
export function unpackRows(format: i32, source: usize, stride: usize, rows: i32, parts: i32, target: usize): void {
  for (let i = 0; i < rows; i++) {
    for (let part = 0; part < parts; part++) {
      unpackPart(format, source, part, target, 32);
      target += 128;
    }
    source += stride;
  }
}

/**
 * Unpacks the columns of some parts, from part `first` on, into panels of eight columns, `panel` bytes apart, with a
 * row for each row of the matrix: the right-hand side of a product with the rows as the inner axis.
 */
export function unpackColumns(
  format: i32, source: usize, stride: usize, rows: i32, first: i32, parts: i32, target: usize, panel: usize,
): void {
  for (let i = 0; i < rows; i++) {
    let t = target;
    for (let part = first; part < first + parts; part++) {
      unpackPart(format, source, part, t, panel);
      t += 4 * panel;
    }
    source += stride;
    target += 32;
  }
}
