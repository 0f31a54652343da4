import {clampTo, load4, loadTail, store4, zeros} from './lanes';

// Elementwise computations, with or without weights for each channel. With weights, channels are multiples of four.

/** `x` between `lowest` and `highest`; `y` may be `x`. */
export function clamp(x: usize, y: usize, count: i32, lowest: f32, highest: f32): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  for (; count >= 8; count -= 8) {
    v128.store(y, clampTo(low, high, v128.load(x)));
    v128.store(y, clampTo(low, high, v128.load(x, 16)), 16);
    x += 32;
    y += 32;
  }
  for (; count > 0; count--) {
    v128.store32_lane(y, clampTo(low, high, v128.load32_splat(x)), 0);
    x += 4;
    y += 4;
  }
}

/** Whether one of the values is NaN or `value`. */
export function holds(x: usize, count: i32, value: f32): i32 {
  const wanted = f32x4.splat(value);
  let matches = zeros();
  for (; count > 0; count -= 4) {
    const four = count >= 4 ? v128.load(x) : loadTail(x, count);
    matches = v128.or(matches, v128.or(f32x4.ne(four, four), f32x4.eq(four, wanted)));
    x += 16;
  }
  return <i32>v128.any_true(matches);
}

/** `x·m + t`, with `m` and `t` a channel; without `t`, `x·m`. */
export function affine(x: usize, m: usize, t: usize, y: usize, count: i32, channels: i32): void {
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
      v128.store(y + i + j, f32x4.add(f32x4.mul(v128.load(x + i + j), v128.load(m + j)), v128.load(t + j)));
    }
  }
}

/** Two lanes of the quotient and the sum, in double precision. */
@inline
function normalizeHalf(u: v128, root: v128, offset: v128): v128 {
  const quotient = f64x2.div(f64x2.promote_low_f32x4(u), f64x2.promote_low_f32x4(root));
  return f32x4.demote_f64x2_zero(f64x2.add(quotient, f64x2.promote_low_f32x4(offset)));
}

/**
 * `(x − mean)·scale / root + offset`, with `root = √(variance + ε)`: difference and product in single precision, the
 * rest in double, as the backend's own kernel does it.
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

/** Where `y` is strictly between 0 and `cap`, or is NaN. A cap of NaN means no cap. */
@inline
function between(y: v128, cap: v128): v128 {
  return v128.not(v128.or(f32x4.le(y, zeros()), f32x4.ge(y, cap)));
}

/** `dy` where `0 < y < cap`, NaN where `y` is, else 0. */
export function maskByOutput(y: usize, dy: usize, out: usize, count: i32, cap: f32): void {
  const limit = f32x4.splat(cap);
  for (; count > 0; count -= 4) {
    const value = load4(y, count);
    // A NaN with any other bits is NaN.
    const unknown = v128.and(value, f32x4.ne(value, value));
    const masked = v128.or(v128.and(load4(dy, count), between(value, limit)), unknown);
    store4(out, masked, count);
    y += 16;
    dy += 16;
    out += 16;
  }
}

/** A bit for each value, 32 in a word: whether `0 < y < cap`. Writes 1 to `unknown` if one is NaN. */
export function toBits(y: usize, bits: usize, count: i32, cap: f32, unknown: usize): void {
  const limit = f32x4.splat(cap);
  let seen = zeros();
  for (let i = 0; i < count; i += 32) {
    let word = 0;
    for (let k = 0; k < 32; k += 4) {
      const value = load4(y, count - i - k);
      word |= i32x4.bitmask(between(value, limit)) << k;
      seen = v128.or(seen, f32x4.ne(value, value));
      y += 16;
    }
    store<i32>(bits + ((<usize>i) >> 3), word);
  }
  if (v128.any_true(seen)) store<i32>(unknown, 1);
}

/** `dy` where the bit is set, else 0. */
export function maskByBits(bits: usize, dy: usize, out: usize, count: i32): void {
  const lanes = i32x4(1, 2, 4, 8);
  const vectorEnd = count & ~3;
  for (let i = 0; i < vectorEnd; i += 4) {
    const four = (<i32>load<u8>(bits + ((<usize>i) >> 3))) >> (i & 4);
    const mask = i32x4.eq(v128.and(i32x4.splat(four), lanes), lanes);
    const at: usize = (<usize>i) << 2;
    v128.store(out + at, v128.and(v128.load(dy + at), mask));
  }
  for (let i = vectorEnd; i < count; i++) {
    const at: usize = (<usize>i) << 2;
    const isSet = ((<i32>load<u8>(bits + ((<usize>i) >> 3))) >> (i & 7)) & 1;
    store<f32>(out + at, isSet ? load<f32>(dy + at) : <f32>0);
  }
}

/** Scales the columns of a matrix: `w[i, c]·m[c]`. */
export function scaleColumns(w: usize, m: usize, target: usize, rows: i32, columns: i32): void {
  const stride: usize = (<usize>columns) << 2;
  const vectorBytes: usize = (<usize>(columns & ~3)) << 2;
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < vectorBytes; j += 16) {
      v128.store(target + j, f32x4.mul(v128.load(w + j), v128.load(m + j)));
    }
    for (let j: usize = vectorBytes; j < stride; j += 4) {
      store<f32>(target + j, load<f32>(w + j) * load<f32>(m + j));
    }
    w += stride;
    target += stride;
  }
}
