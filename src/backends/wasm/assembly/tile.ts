import {clampTo, load4, store8} from './lanes';

// A tile of a result, 4 × 8 values in registers. A part of it may be beyond the result and is left out.

/** Writes `height` rows of `width` numbers, `strideOut` bytes apart. */
@inline
export function storeTile(
  out: usize, strideOut: usize, height: i32, width: i32,
  a00: v128, a01: v128, a10: v128, a11: v128, a20: v128, a21: v128, a30: v128, a31: v128,
): void {
  let o = out;
  store8(o, a00, a01, width);
  if (height > 1) {
    o += strideOut;
    store8(o, a10, a11, width);
  }
  if (height > 2) {
    o += strideOut;
    store8(o, a20, a21, width);
  }
  if (height > 3) {
    o += strideOut;
    store8(o, a30, a31, width);
  }
}

/** Like `storeTile`, and adds the values at `from`. No inlining: it is called once for many products. */
export function storeSums(
  from: usize, stride: usize, out: usize, strideOut: usize, height: i32, width: i32,
  a00: v128, a01: v128, a10: v128, a11: v128, a20: v128, a21: v128, a30: v128, a31: v128,
): void {
  const secondWidth = width - 4;
  a00 = f32x4.add(a00, load4(from, width));
  a01 = f32x4.add(a01, load4(from + 16, secondWidth));
  if (height > 1) {
    from += stride;
    a10 = f32x4.add(a10, load4(from, width));
    a11 = f32x4.add(a11, load4(from + 16, secondWidth));
  }
  if (height > 2) {
    from += stride;
    a20 = f32x4.add(a20, load4(from, width));
    a21 = f32x4.add(a21, load4(from + 16, secondWidth));
  }
  if (height > 3) {
    from += stride;
    a30 = f32x4.add(a30, load4(from, width));
    a31 = f32x4.add(a31, load4(from + 16, secondWidth));
  }
  storeTile(out, strideOut, height, width, a00, a01, a10, a11, a20, a21, a30, a31);
}

/** As `storeTile`, between `low` and `high` if it `clamp`s. */
@inline
export function storeClamped(
  out: usize, strideOut: usize, height: i32, width: i32, clamp: i32, low: v128, high: v128,
  a00: v128, a01: v128, a10: v128, a11: v128, a20: v128, a21: v128, a30: v128, a31: v128,
): void {
  if (clamp) {
    a00 = clampTo(low, high, a00);
    a01 = clampTo(low, high, a01);
    a10 = clampTo(low, high, a10);
    a11 = clampTo(low, high, a11);
    a20 = clampTo(low, high, a20);
    a21 = clampTo(low, high, a21);
    a30 = clampTo(low, high, a30);
    a31 = clampTo(low, high, a31);
  }
  storeTile(out, strideOut, height, width, a00, a01, a10, a11, a20, a21, a30, a31);
}
