import {clampTo, store8} from './lanes';

// A tile of a result, 4 × 8 numbers in registers, of which a part may lie beyond the result and is left out.

/** Writes `height` rows of `width` numbers, `strideOut` bytes apart. */
// @ts-ignore: decorator
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

/** As `storeTile`, between `low` and `high` if it `clamp`s. */
// @ts-ignore: decorator
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
