import {fifths, half, minimumOf, scaleOf} from './formats';

// Products of a quantized matrix with few rows. For one row, the integers of a block become floats in registers, and
// the block's scale multiplies their sum. The four bytes of each 32-bit lane are masked where they are and converted,
// so that byte `j` counts `2^8j` times; the row is prepared for this once: in each group of sixteen, as they lie in a
// vector of bytes, the values for byte 0 of the four lanes come first, then those for byte 1, times `2^-8`, and so on.

/** The zero point of a format, as in its sums: `d·Σqx − d·zero·Σx`. */
@inline
function zeroOf(format: i32): f32 {
  return format == 1 ? 8 : format == 3 ? 16 : format == 7 ? 32 : 1;
}

/**
 * Prepares a row of `width` values for `multiplyRow`.
 *
 * @param out receives `32·subBlocks` values: zeros beyond the width.
 * @param sums receives sums in four lanes: of each sub-block, then of each group of sixteen.
 */
export function prepareRow(format: i32, x: usize, width: i32, subBlocks: i32, out: usize, sums: usize): void {
  memory.copy(out, x, <usize>width << 2);
  memory.fill(out + (<usize>width << 2), 0, <usize>(32 * subBlocks - width) << 2);
  if (format > 7) {
    return; // floats are multiplied as they are
  }
  const zero = f32x4.splat(zeroOf(format));
  const isSigned = format == 0;
  const f0 = f32x4.splat(isSigned ? <f32>(1.0 / 16777216) : 1);
  const f1 = f32x4.splat(isSigned ? <f32>(1.0 / 16777216) : <f32>(1.0 / 256));
  const f2 = f32x4.splat(isSigned ? <f32>(1.0 / 16777216) : <f32>(1.0 / 65536));
  const f3 = f32x4.splat(<f32>(1.0 / 16777216));
  const groups = sums + (<usize>subBlocks << 4);
  let former = zero;
  for (let i = 0; i < 2 * subBlocks; i++) {
    const r0 = v128.load(out);
    const r1 = v128.load(out, 16);
    const r2 = v128.load(out, 32);
    const r3 = v128.load(out, 48);
    const sum = f32x4.mul(zero, f32x4.add(f32x4.add(r0, r1), f32x4.add(r2, r3)));
    v128.store(groups + (<usize>i << 4), sum);
    if (i & 1) v128.store(sums + (<usize>(i >> 1) << 4), f32x4.add(former, sum));
    former = sum;
    const t0 = i32x4.shuffle(r0, r1, 0, 4, 1, 5);
    const t1 = i32x4.shuffle(r0, r1, 2, 6, 3, 7);
    const t2 = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
    const t3 = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
    v128.store(out, f32x4.mul(f0, i64x2.shuffle(t0, t2, 0, 2)));
    v128.store(out, f32x4.mul(f1, i64x2.shuffle(t0, t2, 1, 3)), 16);
    v128.store(out, f32x4.mul(f2, i64x2.shuffle(t1, t3, 0, 2)), 32);
    v128.store(out, f32x4.mul(f3, i64x2.shuffle(t1, t3, 1, 3)), 48);
    out += 64;
  }
}

@inline
function times(q: v128, mask: i32, x: usize): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(v128.and(q, i32x4.splat(mask))), v128.load(x));
}

/** The products of sixteen bytes of at most 127, or of those bits of them that `mask` has, in four lanes. */
@inline
function dot(q: v128, mask: i32, x: usize): v128 {
  const low = f32x4.add(times(q, mask, x), times(q, mask << 8, x + 16));
  return f32x4.add(low, f32x4.add(times(q, mask << 16, x + 32), times(q, mask << 24, x + 48)));
}

/** Those of sixteen signed bytes. */
@inline
function dotSigned(q: v128, x: usize): v128 {
  const top: i32 = 255 << 24;
  const low = f32x4.add(times(i32x4.shl(q, 24), top, x), times(i32x4.shl(q, 16), top, x + 16));
  return f32x4.add(low, f32x4.add(times(i32x4.shl(q, 8), top, x + 32), times(q, top, x + 48)));
}

/** Those of the lower four bits of sixteen bytes, then of the upper four. */
@inline
function dotFours(q: v128, x: usize): v128 {
  return f32x4.add(dot(q, 15, x), dot(i32x4.shr_u(q, 4), 15, x + 64));
}

/** Likewise, with the fifth bits at `bits`. */
@inline
function dotFives(q: v128, bits: usize, x: usize): v128 {
  const four = i8x16.splat(15);
  const low = v128.or(v128.and(q, four), fifths(v128.load16_splat(bits)));
  const high = v128.or(v128.and(i32x4.shr_u(q, 4), four), fifths(v128.load16_splat(bits, 2)));
  return f32x4.add(dot(low, 31, x), dot(high, 31, x + 64));
}

/** The float16 in the upper half of each lane, if it is finite. */
@inline
function upperHalves(bits: v128): v128 {
  const value = v128.and(i32x4.shr_s(bits, 3), i32x4.splat(0x8fffe000));
  return f32x4.mul(value, f32x4.splat(reinterpret<f32>(0x77800000)));
}

/** Whether one of two float16 is infinite or NaN. */
@inline
function isSpecial(pair: u32): bool {
  return (((pair & 0x7c007c00) + 0x04000400) & 0x80008000) != 0;
}

/** `d·t + m·sums` for the pair of float16 at `p`. */
@inline
function scaledAndShifted(p: usize, t: v128, sums: usize): v128 {
  const pair = load<u32>(p);
  const x = v128.load(sums);
  if (isSpecial(pair)) {
    return f32x4.add(f32x4.mul(f32x4.splat(half(p)), t), f32x4.mul(f32x4.splat(half(p + 2)), x));
  }
  const bits = i32x4.splat(pair);
  return f32x4.add(f32x4.mul(upperHalves(i32x4.shl(bits, 16)), t), f32x4.mul(upperHalves(bits), x));
}

/** The products of a sub-block with the prepared row, in four lanes. */
@inline
function dotPart(format: i32, row: usize, subBlock: i32, x: usize, sums: usize, groups: usize): v128 {
  if (format == 0) {
    const p = row + 34 * subBlock;
    return f32x4.mul(f32x4.splat(half(p)), f32x4.add(dotSigned(v128.load(p, 2), x), dotSigned(v128.load(p, 18), x + 64)));
  }
  if (format == 1 || format == 3) {
    const p = row + (format == 1 ? 18 : 22) * subBlock;
    const bytes = v128.load(p + (format == 1 ? 2 : 6));
    const t = format == 1 ? dotFours(bytes, x) : dotFives(bytes, p + 2, x);
    return f32x4.mul(f32x4.splat(half(p)), f32x4.sub(t, v128.load(sums)));
  }
  if (format == 2 || format == 4) {
    const p = row + (format == 2 ? 20 : 24) * subBlock;
    const bytes = v128.load(p + (format == 2 ? 4 : 8));
    const t = format == 2 ? dotFours(bytes, x) : dotFives(bytes, p + 4, x);
    return scaledAndShifted(p, t, sums);
  }
  if (format == 5 || format == 6) {
    const p = row + (format == 5 ? 144 : 176) * (subBlock >> 3);
    const k = subBlock & 7;
    const q = p + (format == 5 ? 16 : 48) + 32 * (k >> 1);
    const shift = 4 * (k & 1);
    let low = i32x4.shr_u(v128.load(q), shift);
    let high = i32x4.shr_u(v128.load(q, 16), shift);
    if (format == 6) {
      const bit = i8x16.splat(1);
      const four = i8x16.splat(15);
      low = v128.or(v128.and(low, four), i32x4.shl(v128.and(i32x4.shr_u(v128.load(p, 16), k), bit), 4));
      high = v128.or(v128.and(high, four), i32x4.shl(v128.and(i32x4.shr_u(v128.load(p, 32), k), bit), 4));
    }
    const mask = format == 5 ? 15 : 31;
    const d = f32x4.splat(half(p) * <f32>scaleOf(p + 4, k));
    const m = f32x4.splat(half(p + 2) * <f32>minimumOf(p + 4, k));
    const t = f32x4.add(dot(low, mask, x), dot(high, mask, x + 64));
    return f32x4.sub(f32x4.mul(d, t), f32x4.mul(m, v128.load(sums)));
  }
  const p = row + 210 * (subBlock >> 3);
  const k = subBlock & 7;
  const q = p + 64 * (k >> 2) + 32 * (k & 1);
  const h = p + 128 + 32 * (k >> 2);
  const shift = 4 * ((k >> 1) & 1);
  const two = 2 * (k & 3);
  const three = i8x16.splat(3);
  const four = i8x16.splat(15);
  const low = v128.or(
    v128.and(i32x4.shr_u(v128.load(q), shift), four), i32x4.shl(v128.and(i32x4.shr_u(v128.load(h), two), three), 4),
  );
  const high = v128.or(
    v128.and(i32x4.shr_u(v128.load(q, 16), shift), four), i32x4.shl(v128.and(i32x4.shr_u(v128.load(h, 16), two), three), 4),
  );
  const s = p + 192 + 2 * k;
  const d = half(p + 208);
  const first = f32x4.mul(f32x4.splat(d * <f32>load<i8>(s)), f32x4.sub(dot(low, 63, x), v128.load(groups)));
  const second = f32x4.mul(f32x4.splat(d * <f32>load<i8>(s + 1)), f32x4.sub(dot(high, 63, x + 64), v128.load(groups, 16)));
  return f32x4.add(first, second);
}

/** Four floats of a format without blocks. */
@inline
function floats(format: i32, p: usize): v128 {
  if (format == 10) {
    return v128.load(p);
  }
  const bits = i32x4.shl(v128.load16x4_u(p), 16);
  if (format == 9) {
    return bits;
  }
  // Twice by 2^112, and back: where the exponent has all bits, the first makes an infinity.
  const up = f32x4.splat(reinterpret<f32>(0x77800000));
  return f32x4.mul(f32x4.mul(upperHalves(bits), up), f32x4.splat(reinterpret<f32>(0x07800000)));
}

/** The products of a sub-block of floats. */
@inline
function dotFloats(format: i32, p: usize, x: usize): v128 {
  const step: usize = format == 10 ? 16 : 8;
  let s = f32x4.splat(0);
  for (let i = 0; i < 4; i++) {
    const t = f32x4.mul(floats(format, p), v128.load(x));
    s = f32x4.add(s, f32x4.add(t, f32x4.mul(floats(format, p + step), v128.load(x, 16))));
    p += 2 * step;
    x += 32;
  }
  return s;
}

@inline
function total(s: v128): f32 {
  return f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 2) + f32x4.extract_lane(s, 3);
}

@inline
function rowsOf(
  format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32, x: usize, sums: usize, out: usize,
): void {
  const groups = sums + (<usize>subBlocks << 4);
  for (let i = 0; i < rows; i++) {
    let s = f32x4.splat(0);
    for (let subBlock = 0; subBlock < subBlocks; subBlock++) {
      const at = x + (<usize>subBlock << 7);
      s = f32x4.add(
        s,
        format > 7
          ? dotFloats(format, source + (<usize>subBlock << (format == 10 ? 7 : 6)), at)
          : dotPart(format, source, subBlock, at, sums + (<usize>subBlock << 4), groups + (<usize>subBlock << 5)),
      );
    }
    store<f32>(out, total(s));
    out += 4;
    source += stride;
  }
}

/**
 * `out[rows] = W·x` for one row `x` of `32·subBlocks` values.
 *
 * @param x and `sums` as `prepareRow` writes them.
 */
export function multiplyRow(
  format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32, x: usize, sums: usize, out: usize,
): void {
  if (format == 0) rowsOf(0, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 1) rowsOf(1, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 2) rowsOf(2, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 3) rowsOf(3, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 4) rowsOf(4, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 5) rowsOf(5, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 6) rowsOf(6, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 7) rowsOf(7, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 8) rowsOf(8, source, stride, rows, subBlocks, x, sums, out);
  else if (format == 9) rowsOf(9, source, stride, rows, subBlocks, x, sums, out);
  else rowsOf(10, source, stride, rows, subBlocks, x, sums, out);
}
