import {clampTo, load4, madd, zeros} from './lanes';
import {storeClamped, storeSums} from './tile';

// Products of matrices. The right-hand one is first copied into panels of eight columns, each as long as the matrix is
// high. Each number of the result is summed in the order of the inner axis, beginning with the bias, as XNNPACK does
// it, and so comes out the same to the last bit. A gradient may be a sum over tens of thousands of values that almost
// cancel, such as the vocabulary of a language model: there each block of products is summed by itself.
//
// A tile of 4 × 8 numbers of the result is held in registers. V8 spills anything larger, and unrolling makes it no
// faster.

/**
 * `c[rows, columns] = clamp(a[rows, inner] · panels + bias)`.
 *
 * @param block how many products are summed by themselves, without a clamp; 0 for one sum of all. Other parameters as
 *     below.
 */
export function multiply(
  rows: i32, columns: i32, inner: i32,
  a: usize, strideA: usize,
  panels: usize, panel: usize,
  c: usize, strideC: usize,
  bias: usize, strideBias: usize, clamp: i32, lowest: f32, highest: f32,
  rowsOutside: i32, block: i32,
): void {
  const most = block ? block : inner;
  do {
    const count = min(most, inner);
    multiplyTiles(
      rows, columns, count, a, strideA, panels, panel, c, strideC,
      bias, strideBias, clamp, lowest, highest, rowsOutside, block != 0,
    );
    inner -= count;
    a += (<usize>count) << 2;
    panels += (<usize>count) << 5;
    bias = c;
    strideBias = strideC;
  } while (inner > 0);
}

/**
 * One sum of all products.
 *
 * @param strideBias bytes between the rows of the bias: 0 for one row, which all rows of the result begin with.
 * @param rowsOutside whether tiles of one row of the result follow each other; else those of one panel do.
 * @param biasLast whether the bias is added to the sum, which else begins with it.
 */
function multiplyTiles(
  rows: i32, columns: i32, inner: i32,
  a: usize, strideA: usize,
  panels: usize, panel: usize,
  c: usize, strideC: usize,
  bias: usize, strideBias: usize, clamp: i32, lowest: f32, highest: f32,
  rowsOutside: i32, biasLast: bool,
): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  const tilesDown = (rows + 3) >> 2;
  const tilesAcross = (columns + 7) >> 3;
  let i = 0;
  let j = 0;
  for (let tile = tilesDown * tilesAcross; tile > 0; tile--) {
    const height = min(4, rows - (i << 2));
    const width = min(8, columns - (j << 3));
    let p0 = a + (<usize>(i << 2)) * strideA;
    let p1 = height > 1 ? p0 + strideA : p0;
    let p2 = height > 2 ? p1 + strideA : p1;
    let p3 = height > 3 ? p2 + strideA : p2;
    let b = panels + (<usize>j) * panel;
    let a00 = zeros(), a01 = a00, a10 = a00, a11 = a00, a20 = a00, a21 = a00, a30 = a00, a31 = a00;
    if (bias && !biasLast) {
      let q = bias + (<usize>(i << 2)) * strideBias + ((<usize>j) << 5);
      a00 = load4(q, width);
      a01 = load4(q + 16, width - 4);
      if (height > 1) q += strideBias;
      a10 = load4(q, width);
      a11 = load4(q + 16, width - 4);
      if (height > 2) q += strideBias;
      a20 = load4(q, width);
      a21 = load4(q + 16, width - 4);
      if (height > 3) q += strideBias;
      a30 = load4(q, width);
      a31 = load4(q + 16, width - 4);
    }
    for (let k = inner; k > 0; k--) {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      const s0 = v128.load32_splat(p0);
      const s1 = v128.load32_splat(p1);
      const s2 = v128.load32_splat(p2);
      const s3 = v128.load32_splat(p3);
      a00 = madd(a00, s0, b0);
      a01 = madd(a01, s0, b1);
      a10 = madd(a10, s1, b0);
      a11 = madd(a11, s1, b1);
      a20 = madd(a20, s2, b0);
      a21 = madd(a21, s2, b1);
      a30 = madd(a30, s3, b0);
      a31 = madd(a31, s3, b1);
      b += 32;
      p0 += 4;
      p1 += 4;
      p2 += 4;
      p3 += 4;
    }
    const o = c + (<usize>(i << 2)) * strideC + ((<usize>j) << 5);
    if (bias && biasLast) {
      const q = bias + (<usize>(i << 2)) * strideBias + ((<usize>j) << 5);
      storeSums(q, strideBias, o, strideC, height, width, a00, a01, a10, a11, a20, a21, a30, a31);
    } else {
      storeClamped(o, strideC, height, width, clamp, low, high, a00, a01, a10, a11, a20, a21, a30, a31);
    }
    if (rowsOutside) {
      if (++j == tilesAcross) {
        j = 0;
        i++;
      }
    } else if (++i == tilesDown) {
      i = 0;
      j++;
    }
  }
}

/**
 * `c[rows, columns] = clamp(a[rows, inner] · b[inner, columns] + bias)` for few rows, with `b` unpacked: copying it
 * into panels would take longer than the product. Four rows of `b` are read at a time, and the result stays in the
 * cache. `inner` and `columns` are multiples of four.
 */
export function multiplyFew(
  rows: i32, columns: i32, inner: i32,
  a: usize, strideA: usize,
  b: usize, strideB: usize,
  c: usize, strideC: usize,
  bias: usize, clamp: i32, lowest: f32, highest: f32,
): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  const bytes = (<usize>columns) << 2;
  for (let i = 0; i < rows; i++) {
    const o = c + (<usize>i) * strideC;
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(o + at, bias ? v128.load(bias + at) : zeros());
    }
  }
  for (let k = 0; k < inner; k += 4) {
    const isLast = clamp && k + 4 >= inner;
    for (let i = 0; i < rows; i++) {
      const p = a + (<usize>i) * strideA + ((<usize>k) << 2);
      const s0 = v128.load32_splat(p);
      const s1 = v128.load32_splat(p, 4);
      const s2 = v128.load32_splat(p, 8);
      const s3 = v128.load32_splat(p, 12);
      let o = c + (<usize>i) * strideC;
      let b0 = b + (<usize>k) * strideB;
      let b1 = b0 + strideB;
      let b2 = b1 + strideB;
      let b3 = b2 + strideB;
      for (const end = o + bytes; o < end; o += 16) {
        let y = madd(v128.load(o), s0, v128.load(b0));
        y = madd(y, s1, v128.load(b1));
        y = madd(y, s2, v128.load(b2));
        y = madd(y, s3, v128.load(b3));
        v128.store(o, isLast ? clampTo(low, high, y) : y);
        b0 += 16;
        b1 += 16;
        b2 += 16;
        b3 += 16;
      }
    }
  }
}

/** `c[rows, 4] = a[rows, inner] · b[inner, 4]`, with `b` unpacked: half of a tile would be empty. */
export function multiplyBy4(rows: i32, inner: i32, a: usize, strideA: usize, b: usize, c: usize): void {
  for (let i = 0; i < rows; i += 6) {
    const height = min(6, rows - i);
    let p0 = a + (<usize>i) * strideA;
    let p1 = height > 1 ? p0 + strideA : p0;
    let p2 = height > 2 ? p1 + strideA : p1;
    let p3 = height > 3 ? p2 + strideA : p2;
    let p4 = height > 4 ? p3 + strideA : p3;
    let p5 = height > 5 ? p4 + strideA : p4;
    let q = b;
    let a0 = zeros(), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0;
    for (let k = inner; k > 0; k--) {
      const w = v128.load(q);
      a0 = madd(a0, v128.load32_splat(p0), w);
      a1 = madd(a1, v128.load32_splat(p1), w);
      a2 = madd(a2, v128.load32_splat(p2), w);
      a3 = madd(a3, v128.load32_splat(p3), w);
      a4 = madd(a4, v128.load32_splat(p4), w);
      a5 = madd(a5, v128.load32_splat(p5), w);
      q += 16;
      p0 += 4;
      p1 += 4;
      p2 += 4;
      p3 += 4;
      p4 += 4;
      p5 += 4;
    }
    const o = c + ((<usize>i) << 4);
    v128.store(o, a0);
    if (height > 1) v128.store(o, a1, 16);
    if (height > 2) v128.store(o, a2, 32);
    if (height > 3) v128.store(o, a3, 48);
    if (height > 4) v128.store(o, a4, 64);
    if (height > 5) v128.store(o, a5, 80);
  }
}
