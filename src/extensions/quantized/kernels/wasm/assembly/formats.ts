// The ids of formats: 0 Q8_0, 1 Q4_0, 2 Q4_1, 3 Q5_0, 4 Q5_1, 5 Q4_K, 6 Q5_K, 7 Q6_K, 8 F16, 9 BF16, 10 F32. Values
// equal those of `formats/formats.ts` bit for bit.

/** The float16 at `p`. */
@inline
export function half(p: usize): f32 {
  const bits = <u32>load<u16>(p);
  const magnitude = (bits & 0x7fff) << 13;
  // The exponent's bias rises from 15 to 127: by 2^112, exact for subnormal values too.
  const value = (bits & 0x7c00) == 0x7c00
    ? reinterpret<f32>(magnitude | 0x7f800000)
    : reinterpret<f32>(magnitude) * reinterpret<f32>(0x77800000);
  return reinterpret<f32>(reinterpret<u32>(value) | ((bits & 0x8000) << 16));
}

/** Adding it changes nothing, not even the sign of a zero. */
const NOTHING: f32 = -0.0;

/** Four of sixteen integers, as floats. */
@inline
function four(q: v128, group: i32): v128 {
  const half = group < 2 ? i16x8.extend_low_i8x16_s(q) : i16x8.extend_high_i8x16_s(q);
  return f32x4.convert_i32x4_s(group & 1 ? i32x4.extend_high_i16x8_s(half) : i32x4.extend_low_i16x8_s(half));
}

/** Writes sixteen values `d·q + m` as two groups of eight, `step` bytes apart. */
@inline
function write16(q: v128, d: f32, m: f32, target: usize, step: usize): void {
  const scale = f32x4.splat(d);
  const shift = f32x4.splat(m);
  v128.store(target, f32x4.add(f32x4.mul(scale, four(q, 0)), shift));
  v128.store(target, f32x4.add(f32x4.mul(scale, four(q, 1)), shift), 16);
  target += step;
  v128.store(target, f32x4.add(f32x4.mul(scale, four(q, 2)), shift));
  v128.store(target, f32x4.add(f32x4.mul(scale, four(q, 3)), shift), 16);
}

/** The fifth bits of sixteen values, one bit each in every lane of 16, as 16 where they are set. */
@inline
export function fifths(bits: v128): v128 {
  const bytes = i8x16.shuffle(bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const masks = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  return v128.and(i8x16.eq(v128.and(bytes, masks), masks), i8x16.splat(16));
}

/** Four bits of each of sixteen bytes: the lower, or with `shift` 4 the upper. */
@inline
export function nibbles(bytes: v128, shift: i32): v128 {
  return v128.and(i8x16.shr_u(bytes, shift), i8x16.splat(15));
}

/** The scale of a sub-block of a block of 256, of 6 bits, in the 12 bytes from `p` on. */
@inline
export function scaleOf(p: usize, subBlock: i32): i32 {
  return subBlock < 4
    ? load<u8>(p + subBlock) & 63
    : (load<u8>(p + subBlock + 4) & 15) | ((load<u8>(p + subBlock - 4) >> 2) & 48);
}

/** The minimum of a sub-block, likewise. */
@inline
export function minimumOf(p: usize, subBlock: i32): i32 {
  return subBlock < 4
    ? load<u8>(p + subBlock + 4) & 63
    : (load<u8>(p + subBlock + 4) >> 4) | ((load<u8>(p + subBlock) >> 2) & 48);
}

/** Writes 32 values, sub-block `subBlock` of the row at `row`, as four groups of eight, `step` bytes apart. */
export function unpackPart(format: i32, row: usize, subBlock: i32, target: usize, step: usize): void {
  const next = target + 2 * step;
  if (format == 0) {
    const p = row + 34 * subBlock;
    const d = half(p);
    write16(v128.load(p, 2), d, NOTHING, target, step);
    write16(v128.load(p, 18), d, NOTHING, next, step);
  } else if (format == 1) {
    const p = row + 18 * subBlock;
    const d = half(p);
    const bytes = v128.load(p, 2);
    const eight = i8x16.splat(8);
    write16(i8x16.sub(nibbles(bytes, 0), eight), d, NOTHING, target, step);
    write16(i8x16.sub(nibbles(bytes, 4), eight), d, NOTHING, next, step);
  } else if (format == 2) {
    const p = row + 20 * subBlock;
    const d = half(p);
    const m = half(p + 2);
    const bytes = v128.load(p, 4);
    write16(nibbles(bytes, 0), d, m, target, step);
    write16(nibbles(bytes, 4), d, m, next, step);
  } else if (format == 3) {
    const p = row + 22 * subBlock;
    const d = half(p);
    const bytes = v128.load(p, 6);
    const sixteen = i8x16.splat(16);
    write16(i8x16.sub(v128.or(nibbles(bytes, 0), fifths(v128.load16_splat(p, 2))), sixteen), d, NOTHING, target, step);
    write16(i8x16.sub(v128.or(nibbles(bytes, 4), fifths(v128.load16_splat(p, 4))), sixteen), d, NOTHING, next, step);
  } else if (format == 4) {
    const p = row + 24 * subBlock;
    const d = half(p);
    const m = half(p + 2);
    const bytes = v128.load(p, 8);
    write16(v128.or(nibbles(bytes, 0), fifths(v128.load16_splat(p, 4))), d, m, target, step);
    write16(v128.or(nibbles(bytes, 4), fifths(v128.load16_splat(p, 6))), d, m, next, step);
  } else if (format == 5 || format == 6) {
    const bytesOf: i32 = format == 5 ? 144 : 176;
    const p = row + bytesOf * (subBlock >> 3);
    const k = subBlock & 7;
    const d = half(p) * <f32>scaleOf(p + 4, k);
    const m = -(half(p + 2) * <f32>minimumOf(p + 4, k));
    const q = p + (format == 5 ? 16 : 48) + 32 * (k >> 1);
    const shift = 4 * (k & 1);
    let low = nibbles(v128.load(q), shift);
    let high = nibbles(v128.load(q, 16), shift);
    if (format == 6) {
      const bit = i8x16.splat(1);
      low = v128.or(low, i8x16.shl(v128.and(i8x16.shr_u(v128.load(p, 16), k), bit), 4));
      high = v128.or(high, i8x16.shl(v128.and(i8x16.shr_u(v128.load(p, 32), k), bit), 4));
    }
    write16(low, d, m, target, step);
    write16(high, d, m, next, step);
  } else if (format == 7) {
    const p = row + 210 * (subBlock >> 3);
    const k = subBlock & 7;
    const d = half(p + 208);
    const q = p + 64 * (k >> 2) + 32 * (k & 1);
    const h = p + 128 + 32 * (k >> 2);
    const shift = 4 * ((k >> 1) & 1);
    const two = 2 * (k & 3);
    const three = i8x16.splat(3);
    const middle = i8x16.splat(32);
    const low = v128.or(nibbles(v128.load(q), shift), i8x16.shl(v128.and(i8x16.shr_u(v128.load(h), two), three), 4));
    const high = v128.or(
      nibbles(v128.load(q, 16), shift), i8x16.shl(v128.and(i8x16.shr_u(v128.load(h, 16), two), three), 4),
    );
    const s = p + 192 + 2 * k;
    write16(i8x16.sub(low, middle), d * <f32>load<i8>(s), NOTHING, target, step);
    write16(i8x16.sub(high, middle), d * <f32>load<i8>(s + 1), NOTHING, next, step);
  } else {
    const size: i32 = format == 10 ? 4 : 2;
    let p = row + 32 * size * subBlock;
    for (let group = 0; group < 4; group++) {
      for (let i = 0; i < 8; i++) {
        const bits: u32 = format == 8
          ? reinterpret<u32>(half(p))
          : format == 9 ? (<u32>load<u16>(p)) << 16 : load<u32>(p);
        store<u32>(target + (i << 2), bits);
        p += size;
      }
      target += step;
    }
  }
}
