import {unpackPart} from './formats';

// A matrix in blocks has rows of whole blocks, `stride` bytes apart. It is unpacked in parts of 32 numbers.

/**
 * Unpacks rows `[rows, 32·parts]`, the first of them at `source`, into rows of numbers, one after the other.
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
 * Unpacks the columns of some parts, from part `first` on, into panels of eight columns, `panel` bytes apart, each as
 * long as there are rows: the right-hand side of a product with the rows as the inner axis.
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
 * `out[rows] = W·x` of one row `x` of `32·parts` numbers.
 *
 * @param scratch room for 32 numbers.
 */
export function multiplyRow(
  format: i32, source: usize, stride: usize, rows: i32, parts: i32, x: usize, scratch: usize, out: usize,
): void {
  for (let i = 0; i < rows; i++) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let p = x;
    for (let part = 0; part < parts; part++) {
      unpackPart(format, source, part, scratch, 32);
      s0 = f32x4.add(s0, f32x4.mul(v128.load(scratch), v128.load(p)));
      s1 = f32x4.add(s1, f32x4.mul(v128.load(scratch, 16), v128.load(p, 16)));
      s2 = f32x4.add(s2, f32x4.mul(v128.load(scratch, 32), v128.load(p, 32)));
      s3 = f32x4.add(s3, f32x4.mul(v128.load(scratch, 48), v128.load(p, 48)));
      s0 = f32x4.add(s0, f32x4.mul(v128.load(scratch, 64), v128.load(p, 64)));
      s1 = f32x4.add(s1, f32x4.mul(v128.load(scratch, 80), v128.load(p, 80)));
      s2 = f32x4.add(s2, f32x4.mul(v128.load(scratch, 96), v128.load(p, 96)));
      s3 = f32x4.add(s3, f32x4.mul(v128.load(scratch, 112), v128.load(p, 112)));
      p += 128;
    }
    const s = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
    store<f32>(out, f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 2) + f32x4.extract_lane(s, 3));
    out += 4;
    source += stride;
  }
}
