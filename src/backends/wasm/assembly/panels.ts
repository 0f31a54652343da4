import {load4} from './lanes';

// Matrices in another arrangement: as panels of eight columns, each as long as the matrix is high, and transposed.

/** Copies rows `[inner, columns]`, `stride` bytes apart, into panels, `panel` bytes apart, filled up with zeros. */
export function packRows(source: usize, stride: usize, inner: i32, columns: i32, target: usize, panel: usize): void {
  let column = 0;
  for (; column + 32 <= columns; column += 32) {
    let s = source + ((<usize>column) << 2);
    let d = target;
    for (let k = 0; k < inner; k++) {
      const x0 = v128.load(s);
      const x1 = v128.load(s, 16);
      const x2 = v128.load(s, 32);
      const x3 = v128.load(s, 48);
      const x4 = v128.load(s, 64);
      const x5 = v128.load(s, 80);
      const x6 = v128.load(s, 96);
      const x7 = v128.load(s, 112);
      let e = d;
      v128.store(e, x0);
      v128.store(e, x1, 16);
      e += panel;
      v128.store(e, x2);
      v128.store(e, x3, 16);
      e += panel;
      v128.store(e, x4);
      v128.store(e, x5, 16);
      e += panel;
      v128.store(e, x6);
      v128.store(e, x7, 16);
      s += stride;
      d += 32;
    }
    target += 4 * panel;
  }
  for (; column < columns; column += 8) {
    let s = source + ((<usize>column) << 2);
    let d = target;
    const width = columns - column;
    for (let k = 0; k < inner; k++) {
      v128.store(d, load4(s, width));
      v128.store(d, load4(s + 16, width - 4), 16);
      s += stride;
      d += 32;
    }
    target += panel;
  }
}

/** Writes four rows of four numbers as columns, 32 bytes apart. */
@inline
function storeTransposed(d: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const t0 = i32x4.shuffle(r0, r1, 0, 4, 1, 5);
  const t1 = i32x4.shuffle(r0, r1, 2, 6, 3, 7);
  const t2 = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
  const t3 = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
  v128.store(d, i64x2.shuffle(t0, t2, 0, 2));
  v128.store(d, i64x2.shuffle(t0, t2, 1, 3), 32);
  v128.store(d, i64x2.shuffle(t1, t3, 0, 2), 64);
  v128.store(d, i64x2.shuffle(t1, t3, 1, 3), 96);
}

/** As `packRows`, for the transposed of rows `[columns, inner]`. */
export function packColumns(source: usize, stride: usize, inner: i32, columns: i32, target: usize, panel: usize): void {
  for (let column = 0; column < columns; column += 8) {
    const width = columns - column;
    let s = source;
    let d = target;
    let k = 0;
    if (width >= 8) {
      for (; k + 4 <= inner; k += 4) {
        let p = s;
        const r0 = v128.load(p);
        p += stride;
        const r1 = v128.load(p);
        p += stride;
        const r2 = v128.load(p);
        p += stride;
        const r3 = v128.load(p);
        p += stride;
        storeTransposed(d, r0, r1, r2, r3);
        const r4 = v128.load(p);
        p += stride;
        const r5 = v128.load(p);
        p += stride;
        const r6 = v128.load(p);
        p += stride;
        storeTransposed(d + 16, r4, r5, r6, v128.load(p));
        s += 16;
        d += 128;
      }
    }
    for (; k < inner; k++) {
      let p = s;
      for (let j = 0; j < 8; j++) {
        store<f32>(d + ((<usize>j) << 2), j < width ? load<f32>(p) : <f32>0);
        if (j + 1 < width) p += stride;
      }
      s += 4;
      d += 32;
    }
    source += 8 * stride;
    target += panel;
  }
}

/** `[rows, columns] → [columns, rows]`. */
export function transpose(source: usize, rows: i32, columns: i32, target: usize): void {
  const strideS: usize = (<usize>columns) << 2;
  const strideT: usize = (<usize>rows) << 2;
  for (let i = 0; i < rows; i += 4) {
    const height = rows - i;
    const s = source + (<usize>i) * strideS;
    const t = target + ((<usize>i) << 2);
    let j = 0;
    if (height >= 4) {
      for (; j + 4 <= columns; j += 4) {
        let p = s + ((<usize>j) << 2);
        const r0 = v128.load(p);
        p += strideS;
        const r1 = v128.load(p);
        p += strideS;
        const r2 = v128.load(p);
        p += strideS;
        const r3 = v128.load(p);
        const t0 = i32x4.shuffle(r0, r1, 0, 4, 1, 5);
        const t1 = i32x4.shuffle(r0, r1, 2, 6, 3, 7);
        const t2 = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
        const t3 = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
        let d = t + (<usize>j) * strideT;
        v128.store(d, i64x2.shuffle(t0, t2, 0, 2));
        d += strideT;
        v128.store(d, i64x2.shuffle(t0, t2, 1, 3));
        d += strideT;
        v128.store(d, i64x2.shuffle(t1, t3, 0, 2));
        d += strideT;
        v128.store(d, i64x2.shuffle(t1, t3, 1, 3));
      }
    }
    for (; j < columns; j++) {
      for (let k = 0; k < min(4, height); k++) {
        store<f32>(t + (<usize>j) * strideT + ((<usize>k) << 2), load<f32>(s + (<usize>k) * strideS + ((<usize>j) << 2)));
      }
    }
  }
}
