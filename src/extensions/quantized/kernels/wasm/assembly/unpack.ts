import {multiplyPart, unpackPart} from './formats';

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

/**
 * `out[rows] = W·x` for one row `x` of `32·parts` values.
 *
 * @param scratch room for `8·parts` floats.
 */
export function multiplyRow(
  format: i32, source: usize, stride: usize, rows: i32, parts: i32, x: usize, scratch: usize, out: usize,
): void {
  for (let i = 0; i < 2 * parts; i++) {
    const p = x + (<usize>i << 6);
    const left = f32x4.add(v128.load(p), v128.load(p, 16));
    v128.store(scratch + (<usize>i << 4), f32x4.add(left, f32x4.add(v128.load(p, 32), v128.load(p, 48))));
  }
  // The most common formats have separate loops.
  if (format == 0) multiplyRows(0, source, stride, rows, parts, x, scratch, out);
  else if (format == 1) multiplyRows(1, source, stride, rows, parts, x, scratch, out);
  else if (format == 2) multiplyRows(2, source, stride, rows, parts, x, scratch, out);
  else multiplyRows(format, source, stride, rows, parts, x, scratch, out);
}

// @ts-ignore: decorator
@inline
function multiplyRows(
  format: i32, source: usize, stride: usize, rows: i32, parts: i32, x: usize, sums: usize, out: usize,
): void {
  for (let i = 0; i < rows; i++) {
    let s = f32x4.splat(0);
    for (let part = 0; part < parts; part++) {
      s = f32x4.add(s, multiplyPart(format, source, part, x + (<usize>part << 7), sums + (<usize>part << 5)));
    }
    store<f32>(out, f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 2) + f32x4.extract_lane(s, 3));
    out += 4;
    source += stride;
  }
}
