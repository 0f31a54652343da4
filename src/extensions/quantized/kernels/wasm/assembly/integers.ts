import {half, minimumOf, nibbles, scaleOf} from './formats';

// Products with a row that is rounded to 8 bits, in groups of 32 with a scale: integers of 16 bits are multiplied, and
// their sums scaled. In each group the values at even positions of the first sixteen come first, then those of the
// second, then the odd ones of both: the bytes of a block become integers of 16 bits by shifts alone.

/** Rounds a row of `width` values: 32 integers of 16 bits for each sub-block, then the scale and the sum of each. */
export function roundRow(x: usize, width: i32, subBlocks: i32, out: usize): void {
  let scales = out + (<usize>subBlocks << 6);
  for (let subBlock = 0; subBlock < subBlocks; subBlock++) {
    const count = min(32, width - (subBlock << 5));
    let most: f32 = 0;
    for (let i = 0; i < count; i++) {
      most = max(most, abs(load<f32>(x + (i << 2)))); // NaN stays
    }
    // Values that are not finite have no integers: their scale makes the products NaN.
    const inverse: f32 = most > 1e-30 && most < Infinity ? 127 / most : 0;
    let sum = 0;
    for (let i = 0; i < 32; i++) {
      const value = i < count && inverse > 0 ? <i32>nearest(load<f32>(x + (i << 2)) * inverse) : 0;
      sum += value;
      store<i16>(out + (((i & 1) << 5) | (i >> 4 << 4) | (i & 14)), <i16>value);
    }
    const scale = most < Infinity ? most / 127 : <f32>NaN;
    store<f32>(scales, scale);
    store<f32>(scales, scale * <f32>sum, 4);
    x += 128;
    out += 64;
    scales += 8;
  }
}

/** Sixteen integers of a sub-block, the first or the second, as signed bytes. */
@inline
function bytesOf(format: i32, row: usize, subBlock: i32, second: i32): v128 {
  if (format == 0) {
    return v128.load(row + 34 * subBlock + (second << 4), 2);
  }
  if (format == 1) {
    return i8x16.sub(nibbles(v128.load(row + 18 * subBlock, 2), second << 2), i8x16.splat(8));
  }
  if (format == 2) {
    return nibbles(v128.load(row + 20 * subBlock, 4), second << 2);
  }
  const k = subBlock & 7;
  if (format == 5) {
    return nibbles(v128.load(row + 144 * (subBlock >> 3) + 32 * (k >> 1) + (second << 4), 16), 4 * (k & 1));
  }
  const p = row + 210 * (subBlock >> 3) + (second << 4);
  const low = nibbles(v128.load(p + 64 * (k >> 2) + 32 * (k & 1)), 4 * ((k >> 1) & 1));
  const high = v128.and(i16x8.shr_u(v128.load(p + 32 * (k >> 2), 128), 2 * (k & 3)), i8x16.splat(3));
  return i8x16.sub(v128.or(low, i16x8.shl(high, 4)), i8x16.splat(32));
}

/** The scale of a sub-block; in format 7 without that of each sixteen. */
@inline
function scaleOfPart(format: i32, row: usize, subBlock: i32): f32 {
  if (format < 3) {
    return half(row + (format == 0 ? 34 : format == 1 ? 18 : 20) * subBlock);
  }
  const p = row + (format == 5 ? 144 : 210) * (subBlock >> 3);
  return format == 5 ? half(p) * <f32>scaleOf(p + 4, subBlock & 7) : half(p + 208);
}

/** Added to each value of a sub-block. */
@inline
function shiftOfPart(format: i32, row: usize, subBlock: i32): f32 {
  if (format == 2) {
    return half(row + 20 * subBlock + 2);
  }
  const p = row + 144 * (subBlock >> 3);
  return -(half(p + 2) * <f32>minimumOf(p + 4, subBlock & 7));
}

@inline
function hasShift(format: i32): bool {
  return format == 2 || format == 5;
}

/** In format 7, the scale of sixteen values. */
@inline
function groupScale(row: usize, subBlock: i32, second: i32): i32 {
  return load<i8>(row + 210 * (subBlock >> 3) + 192 + 2 * (subBlock & 7) + second);
}

@inline
function evens(bytes: v128): v128 {
  return i16x8.shr_s(i16x8.shl(bytes, 8), 8);
}

@inline
function odds(bytes: v128): v128 {
  return i16x8.shr_s(bytes, 8);
}

/** The products of sixteen bytes with integers at `x`. */
@inline
function dot(bytes: v128, x: usize): v128 {
  return i32x4.add(i32x4.dot_i16x8_s(evens(bytes), v128.load(x)), i32x4.dot_i16x8_s(odds(bytes), v128.load(x, 32)));
}

@inline
function total(s: v128): f32 {
  return f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 2) + f32x4.extract_lane(s, 3);
}

@inline
function rowsOf(format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32, x: usize, out: usize): void {
  for (let i = 0; i < rows; i++) {
    let s = f32x4.splat(0);
    let shifts: f32 = 0;
    let px = x;
    let scales = x + (<usize>subBlocks << 6);
    for (let subBlock = 0; subBlock < subBlocks; subBlock++) {
      let t = dot(bytesOf(format, source, subBlock, 0), px);
      let u = dot(bytesOf(format, source, subBlock, 1), px + 16);
      if (format == 7) {
        t = i32x4.mul(t, i32x4.splat(groupScale(source, subBlock, 0)));
        u = i32x4.mul(u, i32x4.splat(groupScale(source, subBlock, 1)));
      }
      const scale = scaleOfPart(format, source, subBlock) * load<f32>(scales);
      s = f32x4.add(s, f32x4.mul(f32x4.splat(scale), f32x4.convert_i32x4_s(i32x4.add(t, u))));
      if (hasShift(format)) shifts += shiftOfPart(format, source, subBlock) * load<f32>(scales, 4);
      px += 64;
      scales += 8;
    }
    store<f32>(out, total(s) + shifts);
    out += 4;
    source += stride;
  }
}

/** `out[rows] = W·x` for a row `x` as `roundRow` writes it. */
export function multiplyRounded(
  format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32, x: usize, out: usize,
): void {
  if (format == 0) rowsOf(0, source, stride, rows, subBlocks, x, out);
  else if (format == 1) rowsOf(1, source, stride, rows, subBlocks, x, out);
  else if (format == 2) rowsOf(2, source, stride, rows, subBlocks, x, out);
  else if (format == 5) rowsOf(5, source, stride, rows, subBlocks, x, out);
  else rowsOf(7, source, stride, rows, subBlocks, x, out);
}
