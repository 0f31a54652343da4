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

/** Which bits of sixteen bytes of `bytesOf` are the integers; 255 for signed ones. */
@inline
function maskOf(format: i32): i32 {
  return format == 0 ? 255 : format == 3 || format == 4 || format == 6 ? 31 : format == 7 ? 63 : 15;
}

/** The bytes of a sub-block's integers, the first sixteen or the second. */
@inline
function bytesOf(format: i32, row: usize, subBlock: i32, second: i32): v128 {
  if (format == 0) {
    return v128.load(row + 34 * subBlock + (second << 4), 2);
  }
  if (format < 5) {
    const p = row + (format == 1 ? 18 : format == 2 ? 20 : format == 3 ? 22 : 24) * subBlock + (format & 1 ? 2 : 4);
    if (format < 3) {
      return second ? i32x4.shr_u(v128.load(p), 4) : v128.load(p);
    }
    const low = v128.and(second ? i32x4.shr_u(v128.load(p, 4), 4) : v128.load(p, 4), i8x16.splat(15));
    return v128.or(low, fifths(v128.load16_splat(p + (second << 1))));
  }
  const k = subBlock & 7;
  if (format < 7) {
    const p = row + (format == 5 ? 144 : 176) * (subBlock >> 3) + (second << 4);
    const q = i32x4.shr_u(v128.load(p + (format == 5 ? 16 : 48) + 32 * (k >> 1)), 4 * (k & 1));
    if (format == 5) {
      return q;
    }
    const bit = v128.and(i32x4.shr_u(v128.load(p, 16), k), i8x16.splat(1));
    return v128.or(v128.and(q, i8x16.splat(15)), i32x4.shl(bit, 4));
  }
  const p = row + 210 * (subBlock >> 3) + (second << 4);
  const low = i32x4.shr_u(v128.load(p + 64 * (k >> 2) + 32 * (k & 1)), 4 * ((k >> 1) & 1));
  const high = i32x4.shr_u(v128.load(p + 32 * (k >> 2), 128), 2 * (k & 3));
  return v128.or(v128.and(low, i8x16.splat(15)), i32x4.shl(v128.and(high, i8x16.splat(3)), 4));
}

/** Byte `j` of the four lanes as floats, `2^8j` times, of signed ones `2^24` times. */
@inline
function integers(format: i32, q: v128, j: i32): v128 {
  const bits = format == 0
    ? v128.and(j < 3 ? i32x4.shl(q, 24 - 8 * j) : q, i32x4.splat(255 << 24))
    : v128.and(q, i32x4.splat(maskOf(format) << (8 * j)));
  return f32x4.convert_i32x4_s(bits);
}

/** The products of sixteen integers, four by four, in four lanes. */
@inline
function dot(i0: v128, i1: v128, i2: v128, i3: v128, x: usize): v128 {
  const low = f32x4.add(f32x4.mul(i0, v128.load(x)), f32x4.mul(i1, v128.load(x, 16)));
  return f32x4.add(low, f32x4.add(f32x4.mul(i2, v128.load(x, 32)), f32x4.mul(i3, v128.load(x, 48))));
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

/** The factor of a sub-block's products, in four lanes; in format 7 without that of each sixteen. */
@inline
function scaleOfPart(format: i32, row: usize, subBlock: i32): v128 {
  if (format == 2 || format == 4) {
    const p = row + (format == 2 ? 20 : 24) * subBlock;
    const pair = load<u32>(p);
    return isSpecial(pair) ? f32x4.splat(half(p)) : upperHalves(i32x4.shl(i32x4.splat(pair), 16));
  }
  if (format < 5) {
    return f32x4.splat(half(row + (format == 0 ? 34 : format == 1 ? 18 : 22) * subBlock));
  }
  const p = row + (format == 5 ? 144 : format == 6 ? 176 : 210) * (subBlock >> 3);
  return f32x4.splat(format == 7 ? half(p + 208) : half(p) * <f32>scaleOf(p + 4, subBlock & 7));
}

/** The factor of the sum of a row's values, in the formats that have one. */
@inline
function shiftOfPart(format: i32, row: usize, subBlock: i32): v128 {
  if (format == 2 || format == 4) {
    const p = row + (format == 2 ? 20 : 24) * subBlock;
    const pair = load<u32>(p);
    return isSpecial(pair) ? f32x4.splat(half(p + 2)) : upperHalves(i32x4.splat(pair));
  }
  const p = row + (format == 5 ? 144 : 176) * (subBlock >> 3);
  return f32x4.splat(half(p + 2) * <f32>minimumOf(p + 4, subBlock & 7));
}

/** The products of a sub-block, given those of its integers, `t` and `u`, and the factors `d` and `m`. */
@inline
function scaled(format: i32, t: v128, u: v128, d: v128, m: v128, sums: usize, groups: usize): v128 {
  if (format == 7) {
    return f32x4.add(
      f32x4.mul(d, f32x4.sub(t, v128.load(groups))), f32x4.mul(m, f32x4.sub(u, v128.load(groups, 16))),
    );
  }
  const sum = f32x4.add(t, u);
  if (format == 0) return f32x4.mul(d, sum);
  if (format == 1 || format == 3) return f32x4.mul(d, f32x4.sub(sum, v128.load(sums)));
  const shift = f32x4.mul(m, v128.load(sums));
  return format < 5 ? f32x4.add(f32x4.mul(d, sum), shift) : f32x4.sub(f32x4.mul(d, sum), shift);
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

@inline
function total(s: v128): f32 {
  return f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 2) + f32x4.extract_lane(s, 3);
}

/**
 * The weights of a sub-block stay in registers while they are multiplied with `count` rows. Each has the bits that it
 * has alone.
 *
 * @param step the bytes between two of them.
 * @param lanes room for the sums of each row in four lanes.
 */
@inline
function rowsOf(
  format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32,
  x: usize, sums: usize, count: i32, step: usize, lanes: usize, out: usize, outStep: usize,
): void {
  const toGroups = <usize>subBlocks << 4;
  for (let i = 0; i < rows; i++) {
    let alone = f32x4.splat(0);
    if (count > 1) memory.fill(lanes, 0, <usize>count << 4);
    for (let subBlock = 0; subBlock < subBlocks; subBlock++) {
      let i0: v128, i1: v128, i2: v128, i3: v128, i4: v128, i5: v128, i6: v128, i7: v128;
      let d = alone;
      let m = alone;
      if (format > 7) {
        const p = source + (<usize>subBlock << (format == 10 ? 7 : 6));
        const four: usize = format == 10 ? 16 : 8;
        i0 = floats(format, p);
        i1 = floats(format, p + four);
        i2 = floats(format, p + 2 * four);
        i3 = floats(format, p + 3 * four);
        i4 = floats(format, p + 4 * four);
        i5 = floats(format, p + 5 * four);
        i6 = floats(format, p + 6 * four);
        i7 = floats(format, p + 7 * four);
      } else {
        const q = bytesOf(format, source, subBlock, 0);
        const r = bytesOf(format, source, subBlock, 1);
        i0 = integers(format, q, 0);
        i1 = integers(format, q, 1);
        i2 = integers(format, q, 2);
        i3 = integers(format, q, 3);
        i4 = integers(format, r, 0);
        i5 = integers(format, r, 1);
        i6 = integers(format, r, 2);
        i7 = integers(format, r, 3);
        d = scaleOfPart(format, source, subBlock);
        if (format == 7) {
          const p = source + 210 * (subBlock >> 3) + 192 + 2 * (subBlock & 7);
          m = f32x4.mul(d, f32x4.splat(<f32>load<i8>(p, 1)));
          d = f32x4.mul(d, f32x4.splat(<f32>load<i8>(p)));
        } else if (format != 0 && format != 1 && format != 3) {
          m = shiftOfPart(format, source, subBlock);
        }
      }
      let px = x + (<usize>subBlock << 7);
      let pSums = sums + (<usize>subBlock << 4);
      let pLanes = lanes;
      let left = count;
      while (true) {
        let y: v128;
        if (format > 7) {
          y = f32x4.add(f32x4.mul(i0, v128.load(px)), f32x4.mul(i1, v128.load(px, 16)));
          y = f32x4.add(f32x4.splat(0), y);
          y = f32x4.add(y, f32x4.add(f32x4.mul(i2, v128.load(px, 32)), f32x4.mul(i3, v128.load(px, 48))));
          y = f32x4.add(y, f32x4.add(f32x4.mul(i4, v128.load(px, 64)), f32x4.mul(i5, v128.load(px, 80))));
          y = f32x4.add(y, f32x4.add(f32x4.mul(i6, v128.load(px, 96)), f32x4.mul(i7, v128.load(px, 112))));
        } else {
          const t = dot(i0, i1, i2, i3, px);
          const u = dot(i4, i5, i6, i7, px + 64);
          y = scaled(format, t, u, d, m, pSums, pSums + toGroups + (<usize>subBlock << 4));
        }
        if (count == 1) {
          alone = f32x4.add(alone, y);
          break;
        }
        v128.store(pLanes, f32x4.add(v128.load(pLanes), y));
        if (--left == 0) break;
        px += step;
        pSums += step;
        pLanes += 16;
      }
    }
    if (count == 1) {
      store<f32>(out, total(alone));
    } else {
      for (let row = 0; row < count; row++) {
        store<f32>(out + <usize>row * outStep, total(v128.load(lanes + (<usize>row << 4))));
      }
    }
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
  if (format == 0) rowsOf(0, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 1) rowsOf(1, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 2) rowsOf(2, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 3) rowsOf(3, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 4) rowsOf(4, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 5) rowsOf(5, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 6) rowsOf(6, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 7) rowsOf(7, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 8) rowsOf(8, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else if (format == 9) rowsOf(9, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
  else rowsOf(10, source, stride, rows, subBlocks, x, sums, 1, 0, 0, out, 0);
}

/**
 * `out[count, rows] = x·Wᵀ` for a few rows `x`, in the common formats with blocks.
 *
 * @param x and `sums` as `prepareRow` writes them, those of the next row `step` bytes later.
 * @param lanes room for `4·count` values.
 * @param outStep the bytes between two rows of the result.
 */
export function multiplyRows(
  format: i32, source: usize, stride: usize, rows: i32, subBlocks: i32,
  x: usize, sums: usize, count: i32, step: usize, lanes: usize, out: usize, outStep: usize,
): void {
  if (format == 0) rowsOf(0, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
  else if (format == 1) rowsOf(1, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
  else if (format == 2) rowsOf(2, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
  else if (format == 3) rowsOf(3, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
  else if (format == 5) rowsOf(5, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
  else rowsOf(7, source, stride, rows, subBlocks, x, sums, count, step, lanes, out, outStep);
}
