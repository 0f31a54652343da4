import {load4, madd, store4, zeros} from '../../../../../backends/wasm/assembly/lanes';
import {exp4, total} from './exp';

/** The scores of four columns, if they are visible: from `from` to before `limit`, with a nonzero mask. */
@inline
function seen(mask: usize, j: i32, from: i32, limit: i32): v128 {
  const columns = i32x4.add(i32x4(0, 1, 2, 3), i32x4.splat(j));
  const within = v128.and(i32x4.ge_s(columns, i32x4.splat(from)), i32x4.lt_s(columns, i32x4.splat(limit)));
  if (!mask) return within;
  return v128.and(within, f32x4.ne(load4(mask + ((<usize>j) << 2), limit - j), zeros()));
}

/** Four exponentials relative to the largest score, in place: zero for hidden columns. */
function exponentials(s: usize, columns: i32, j: i32, factor: v128, largest: v128, isSeen: v128): v128 {
  const p = s + ((<usize>j) << 2);
  const valuesLeft = columns - j;
  const e = v128.and(exp4(f32x4.sub(f32x4.mul(load4(p, valuesLeft), factor), largest)), isSeen);
  store4(p, e, valuesLeft);
  return e;
}

/**
 * The softmax of the rows of `s` times `scale`, in place. Hidden columns get 0, and so do rows that see nothing.
 *
 * @param mask `[columns]`, or 0 for none.
 * @param start the first column that the first row sees.
 * @param end the column after its last. Both move by one with each row, and may be out of range.
 */
export function softmaxRows(
  s: usize,
  rows: i32,
  columns: i32,
  scale: f32,
  mask: usize,
  start: i32,
  end: i32,
): void {
  const stride: usize = (<usize>columns) << 2;
  const factor = f32x4.splat(scale);
  for (let i = 0; i < rows; i++) {
    const limit = min(columns, end + i);
    const from = max(0, start + i);
    const first = from & ~3;
    let most = f32x4.splat(-Infinity);
    let j = first;
    if (j < from && j < limit) {
      const z = f32x4.mul(load4(s + ((<usize>j) << 2), columns - j), factor);
      most = f32x4.pmax(most, v128.bitselect(z, f32x4.splat(-Infinity), seen(mask, j, from, limit)));
      j += 4;
    }
    for (; j + 4 <= limit; j += 4) {
      const at: usize = (<usize>j) << 2;
      const z = f32x4.mul(v128.load(s + at), factor);
      const isSeen = mask ? f32x4.ne(v128.load(mask + at), zeros()) : i32x4.splat(-1);
      most = f32x4.pmax(most, v128.bitselect(z, f32x4.splat(-Infinity), isSeen));
    }
    for (; j < limit; j += 4) {
      const z = f32x4.mul(load4(s + ((<usize>j) << 2), columns - j), factor);
      most = f32x4.pmax(most, v128.bitselect(z, f32x4.splat(-Infinity), seen(mask, j, from, limit)));
    }
    const largest = f32x4.splat(
      max(
        max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
        max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
      ),
    );
    let sum = zeros();
    j = first;
    if (j < from && j < limit) {
      sum = exponentials(s, columns, j, factor, largest, seen(mask, j, from, limit));
      j += 4;
    }
    // Two at a time share their constants.
    for (; j + 8 <= limit; j += 8) {
      const p = s + ((<usize>j) << 2);
      let e0 = exp4(f32x4.sub(f32x4.mul(v128.load(p), factor), largest));
      let e1 = exp4(f32x4.sub(f32x4.mul(v128.load(p, 16), factor), largest));
      if (mask) {
        const m = mask + ((<usize>j) << 2);
        e0 = v128.and(e0, f32x4.ne(v128.load(m), zeros()));
        e1 = v128.and(e1, f32x4.ne(v128.load(m, 16), zeros()));
      }
      sum = f32x4.add(f32x4.add(sum, e0), e1);
      v128.store(p, e0);
      v128.store(p, e1, 16);
    }
    for (; j < limit; j += 4) {
      sum = f32x4.add(sum, exponentials(s, columns, j, factor, largest, seen(mask, j, from, limit)));
    }
    const denominator = total(sum);
    const inverse = f32x4.splat(denominator != 0 ? <f32>1 / denominator : 0);
    for (let j = 0; j < columns; j += 4) {
      const p = s + ((<usize>j) << 2);
      const valuesLeft = columns - j;
      const y = j >= first && j < limit ? f32x4.mul(load4(p, valuesLeft), inverse) : zeros();
      store4(p, y, valuesLeft);
    }
    s += stride;
  }
}

/** The gradient of the scores, `p·(dp − Σ p·dp)·scale` row by row, in place of `dp`. */
export function softmaxGradient(p: usize, dp: usize, rows: i32, columns: i32, scale: f32): void {
  const stride: usize = (<usize>columns) << 2;
  const factor = f32x4.splat(scale);
  for (let i = 0; i < rows; i++) {
    let sum = zeros();
    for (let j = 0; j < columns; j += 4) {
      const at: usize = (<usize>j) << 2;
      sum = madd(sum, load4(p + at, columns - j), load4(dp + at, columns - j));
    }
    const mean = f32x4.splat(total(sum));
    for (let j = 0; j < columns; j += 4) {
      const at: usize = (<usize>j) << 2;
      const valuesLeft = columns - j;
      const g = f32x4.mul(f32x4.mul(load4(p + at, valuesLeft), f32x4.sub(load4(dp + at, valuesLeft), mean)), factor);
      store4(dp + at, g, valuesLeft);
    }
    p += stride;
    dp += stride;
  }
}

/** Adds the contiguous rows of `source` to those of `target`. */
export function addRows(source: usize, target: usize, stride: usize, rows: i32, width: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j += 4) {
      const at: usize = (<usize>j) << 2;
      const sum = f32x4.add(load4(source + at, width - j), load4(target + at, width - j));
      store4(target + at, sum, width - j);
    }
    source += (<usize>width) << 2;
    target += stride;
  }
}
