import {clampTo, loadTail, storeTail, zeros} from './lanes';

// What is computed number by number, with weights a channel or without. With weights, channels are multiples of four.

/** `clamp(x·m + t)`, with `m` and `t` a channel; without `t`, `x·m`. */
export function affine(
  x: usize, m: usize, t: usize, y: usize, count: i32, channels: i32, lowest: f32, highest: f32,
): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  const end: usize = (<usize>count) << 2;
  const pixel: usize = (<usize>channels) << 2;
  if (!t) {
    for (let i: usize = 0; i < end; i += pixel) {
      for (let j: usize = 0; j < pixel; j += 16) {
        v128.store(y + i + j, f32x4.mul(v128.load(x + i + j), v128.load(m + j)));
      }
    }
    return;
  }
  for (let i: usize = 0; i < end; i += pixel) {
    for (let j: usize = 0; j < pixel; j += 16) {
      const z = f32x4.add(f32x4.mul(v128.load(x + i + j), v128.load(m + j)), v128.load(t + j));
      v128.store(y + i + j, clampTo(low, high, z));
    }
  }
}

/** Two lanes of the quotient and the sum, in double precision. */
// @ts-ignore: decorator
@inline
function normalizeHalf(u: v128, root: v128, offset: v128): v128 {
  const quotient = f64x2.div(f64x2.promote_low_f32x4(u), f64x2.promote_low_f32x4(root));
  return f32x4.demote_f64x2_zero(f64x2.add(quotient, f64x2.promote_low_f32x4(offset)));
}

/**
 * `(x − mean)·scale / root + offset`, with `root = √(variance + ε)`: difference and product in single precision, the rest in double, as the
 * backend's own kernel does it.
 */
export function normalize(
  x: usize, mean: usize, root: usize, scale: usize, offset: usize, y: usize, count: i32, channels: i32,
): void {
  const end: usize = (<usize>count) << 2;
  const pixel: usize = (<usize>channels) << 2;
  for (let i: usize = 0; i < end; i += pixel) {
    for (let j: usize = 0; j < pixel; j += 16) {
      const u = f32x4.mul(f32x4.sub(v128.load(x + i + j), v128.load(mean + j)), v128.load(scale + j));
      const r = v128.load(root + j);
      const o = v128.load(offset + j);
      const low = normalizeHalf(u, r, o);
      const high = normalizeHalf(i64x2.shuffle(u, u, 1, 1), i64x2.shuffle(r, r, 1, 1), i64x2.shuffle(o, o, 1, 1));
      v128.store(y + i + j, i64x2.shuffle(low, high, 0, 2));
    }
  }
}

// @ts-ignore: decorator
@inline
function between(y: v128, cap: v128): v128 {
  return v128.and(f32x4.gt(y, zeros()), f32x4.lt(y, cap));
}

/** `dy` where `0 < y < cap`, else 0. */
export function maskByOutput(y: usize, dy: usize, out: usize, count: i32, cap: f32): void {
  const limit = f32x4.splat(cap);
  const whole: usize = (<usize>(count & ~3)) << 2;
  for (let i: usize = 0; i < whole; i += 16) {
    v128.store(out + i, v128.and(v128.load(dy + i), between(v128.load(y + i), limit)));
  }
  const rest = count & 3;
  if (rest) {
    const masked = v128.and(loadTail(dy + whole, rest), between(loadTail(y + whole, rest), limit));
    storeTail(out + whole, masked, masked, rest);
  }
}

/** A bit a number, 32 in a word: whether `0 < y < cap`. */
export function toBits(y: usize, bits: usize, count: i32, cap: f32): void {
  const limit = f32x4.splat(cap);
  for (let i = 0; i < count; i += 32) {
    let word = 0;
    const p = y + ((<usize>i) << 2);
    const rest = count - i;
    if (rest >= 32) {
      for (let k = 0; k < 32; k += 4) {
        word |= i32x4.bitmask(between(v128.load(p + ((<usize>k) << 2)), limit)) << k;
      }
    } else {
      for (let k = 0; k < rest; k++) {
        const value = load<f32>(p + ((<usize>k) << 2));
        if (value > 0 && value < cap) word |= 1 << k;
      }
    }
    store<i32>(bits + ((<usize>i) >> 3), word);
  }
}

/** `dy·m` where the bit is set, else 0; `m` a channel, or 0 for none. Without it the count may be any. */
export function maskByBits(bits: usize, dy: usize, m: usize, out: usize, count: i32, channels: i32): void {
  const lanes = i32x4(1, 2, 4, 8);
  const pixel: usize = (<usize>channels) << 2;
  const whole = count & ~3;
  let j: usize = 0;
  for (let i = 0; i < whole; i += 4) {
    const four = (<i32>load<u8>(bits + ((<usize>i) >> 3))) >> (i & 4);
    const mask = i32x4.eq(v128.and(i32x4.splat(four), lanes), lanes);
    const at: usize = (<usize>i) << 2;
    let g = v128.and(v128.load(dy + at), mask);
    if (m) {
      g = f32x4.mul(g, v128.load(m + j));
      j += 16;
      if (j == pixel) j = 0;
    }
    v128.store(out + at, g);
  }
  for (let i = whole; i < count; i++) {
    const at: usize = (<usize>i) << 2;
    const isSet = ((<i32>load<u8>(bits + ((<usize>i) >> 3))) >> (i & 7)) & 1;
    store<f32>(out + at, isSet ? load<f32>(dy + at) : <f32>0);
  }
}

/** Scales the columns of a matrix: `w[i, c]·m[c]`. */
export function scaleColumns(w: usize, m: usize, target: usize, rows: i32, columns: i32): void {
  const stride: usize = (<usize>columns) << 2;
  const whole: usize = (<usize>(columns & ~3)) << 2;
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < whole; j += 16) {
      v128.store(target + j, f32x4.mul(v128.load(w + j), v128.load(m + j)));
    }
    for (let j: usize = whole; j < stride; j += 4) {
      store<f32>(target + j, load<f32>(w + j) * load<f32>(m + j));
    }
    w += stride;
    target += stride;
  }
}
