// Reading and writing up to eight numbers. Nothing beyond the numbers asked for is read or written.

@inline
export function zeros(): v128 {
  return f32x4.splat(0);
}

/** `c + a·b`, rounded twice, as XNNPACK does without relaxed SIMD. */
@inline
export function madd(c: v128, a: v128, b: v128): v128 {
  return f32x4.add(f32x4.mul(a, b), c);
}

/** `x` between two bounds; NaN stays NaN, which the order of the operands does. */
@inline
export function clampTo(low: v128, high: v128, x: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, low), high);
}

/** The first `count` values at `p`, 0 to 3, and zeros. */
export function loadTail(p: usize, count: i32): v128 {
  let x = zeros();
  if (count > 0) x = f32x4.replace_lane(x, 0, load<f32>(p));
  if (count > 1) x = f32x4.replace_lane(x, 1, load<f32>(p, 4));
  if (count > 2) x = f32x4.replace_lane(x, 2, load<f32>(p, 8));
  return x;
}

/** The first `count` values at `p`, at most four, and zeros. */
@inline
export function load4(p: usize, count: i32): v128 {
  return count >= 4 ? v128.load(p) : loadTail(p, count);
}

/** Writes the first `count` of four values; all if it is more. */
@inline
export function store4(p: usize, x: v128, count: i32): void {
  if (count >= 4) {
    v128.store(p, x);
  } else {
    storeTail(p, x, x, count);
  }
}

/** Writes the first `count` of the eight values `x, y`. */
@inline
export function store8(p: usize, x: v128, y: v128, count: i32): void {
  if (count >= 8) {
    v128.store(p, x);
    v128.store(p, y, 16);
  } else {
    storeTail(p, x, y, count);
  }
}

export function storeTail(p: usize, x: v128, y: v128, count: i32): void {
  if (count >= 4) {
    v128.store(p, x);
    x = y;
    p += 16;
    count -= 4;
  }
  if (count >= 2) {
    v128.store64_lane(p, x, 0);
    x = i64x2.shuffle(x, x, 1, 1);
    p += 8;
    count -= 2;
  }
  if (count >= 1) {
    v128.store32_lane(p, x, 0);
  }
}
