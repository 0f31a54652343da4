import {load4, madd, store4} from '../../../../../backends/wasm/assembly/lanes';
import {exp4} from './exp';

/** Where `1 − 2 / (1 + e²ˣ)` would cancel, the series of tanh is exact to 1e-7. */
const NEAR: f32 = 0.3;

/** `tanh` of four values, with a relative error of about 3e-7. */
@inline
function tanh4(x: v128): v128 {
  const one = f32x4.splat(1);
  const square = f32x4.mul(x, x);
  let p = madd(f32x4.splat(-17.0 / 315.0), square, f32x4.splat(62.0 / 2835.0));
  p = madd(f32x4.splat(2.0 / 15.0), square, p);
  p = madd(f32x4.splat(-1.0 / 3.0), square, p);
  const near = madd(x, f32x4.mul(x, square), p);
  const isNear = f32x4.lt(f32x4.abs(x), f32x4.splat(NEAR));
  if (i32x4.all_true(isNear)) return near;
  const far = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(one, exp4(f32x4.add(x, x)))));
  return v128.bitselect(near, far, isNear);
}

/** `s = cap·tanh(scale·s / cap)` in place; with `slopes`, also the derivative divided by `scale`, `1 − tanh²`. */
export function softCap(s: usize, slopes: usize, count: i32, scale: f32, cap: f32): void {
  const factor = f32x4.splat(scale / cap);
  const limit = f32x4.splat(cap);
  const one = f32x4.splat(1);
  for (let i = 0; i < count; i += 4) {
    const at: usize = (<usize>i) << 2;
    const valuesLeft = count - i;
    const t = tanh4(f32x4.mul(load4(s + at, valuesLeft), factor));
    store4(s + at, f32x4.mul(t, limit), valuesLeft);
    if (slopes) store4(slopes + at, f32x4.sub(one, f32x4.mul(t, t)), valuesLeft);
  }
}

/** `y = x·y·scale` */
export function multiplyInto(x: usize, y: usize, count: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  for (let i = 0; i < count; i += 4) {
    const at: usize = (<usize>i) << 2;
    const valuesLeft = count - i;
    store4(y + at, f32x4.mul(f32x4.mul(load4(x + at, valuesLeft), load4(y + at, valuesLeft)), factor), valuesLeft);
  }
}
