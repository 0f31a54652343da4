import {load4, madd, store4} from '../../../../../backends/wasm/assembly/lanes';
import {erf4, exp4, sigmoid4} from './exp';

// Activations alone and as gates: `f(x)` and `f(x)·u`. `kind` is 0 for gelu, 1 for gelu by tanh, 2 for silu.

/** `2·√(2/π)`, since `½·(1 + tanh(u)) = sigmoid(2u)`. */
const TWICE: f32 = 1.5957691216057308;
const CUBIC: f32 = 0.044715;

/** The factor of `x` in the activation: `f(x) = x·share(x)`. */
@inline
function share(x: v128, kind: i32): v128 {
  if (kind == 0) {
    const half = f32x4.splat(0.5);
    return madd(half, half, erf4(f32x4.mul(x, f32x4.splat(0.70710678118654752))));
  }
  if (kind == 1) {
    const inner = madd(f32x4.splat(1), f32x4.mul(x, x), f32x4.splat(CUBIC));
    return sigmoid4(f32x4.mul(f32x4.mul(x, f32x4.splat(TWICE)), inner));
  }
  return sigmoid4(x);
}

/** `f'(x)`, given the share of `x`. */
@inline
function slope(x: v128, fraction: v128, kind: i32): v128 {
  const one = f32x4.splat(1);
  const square = f32x4.mul(x, x);
  if (kind == 0) {
    const density = f32x4.mul(f32x4.splat(0.39894228040143268), exp4(f32x4.mul(square, f32x4.splat(-0.5))));
    return madd(fraction, x, density);
  }
  const steep = f32x4.mul(fraction, f32x4.sub(one, fraction)); // the derivative of the sigmoid
  if (kind == 1) {
    const inner = f32x4.mul(f32x4.splat(TWICE), madd(one, square, f32x4.splat(3 * CUBIC)));
    return madd(fraction, f32x4.mul(x, steep), inner);
  }
  return madd(fraction, x, steep);
}

/** Some of the values of `gate`, for one kind. */
@inline
function gateOf(x: usize, u: usize, y: usize, count: i32, kind: i32): void {
  let i = 0;
  if (!u) {
    // Two at a time share their constants.
    for (; i + 8 <= count; i += 8) {
      const at: usize = (<usize>i) << 2;
      const z0 = v128.load(x + at);
      const z1 = v128.load(x + at, 16);
      v128.store(y + at, f32x4.mul(z0, share(z0, kind)));
      v128.store(y + at, f32x4.mul(z1, share(z1, kind)), 16);
    }
  }
  for (; i < count; i += 4) {
    const at: usize = (<usize>i) << 2;
    const valuesLeft = count - i;
    const z = load4(x + at, valuesLeft);
    let result = f32x4.mul(z, share(z, kind));
    if (u) result = f32x4.mul(result, load4(u + at, valuesLeft));
    store4(y + at, result, valuesLeft);
  }
}

/** `y = f(x)·u`; without `u`, `f(x)`. */
export function gate(x: usize, u: usize, y: usize, count: i32, kind: i32): void {
  if (kind == 0) gateOf(x, u, y, count, 0);
  else if (kind == 1) gateOf(x, u, y, count, 1);
  else gateOf(x, u, y, count, 2);
}

@inline
function gateGradientOf(x: usize, u: usize, dy: usize, dx: usize, du: usize, count: i32, kind: i32): void {
  let i = 0;
  if (!u) {
    for (; i + 8 <= count; i += 8) {
      const at: usize = (<usize>i) << 2;
      const z0 = v128.load(x + at);
      const z1 = v128.load(x + at, 16);
      const p0 = share(z0, kind);
      const p1 = share(z1, kind);
      v128.store(dx + at, f32x4.mul(v128.load(dy + at), slope(z0, p0, kind)));
      v128.store(dx + at, f32x4.mul(v128.load(dy + at, 16), slope(z1, p1, kind)), 16);
    }
  }
  for (; i < count; i += 4) {
    const at: usize = (<usize>i) << 2;
    const valuesLeft = count - i;
    const z = load4(x + at, valuesLeft);
    const g = load4(dy + at, valuesLeft);
    const fraction = share(z, kind);
    let first = f32x4.mul(g, slope(z, fraction, kind));
    if (u) {
      first = f32x4.mul(first, load4(u + at, valuesLeft));
      const second = f32x4.mul(g, f32x4.mul(z, fraction));
      store4(du + at, second, valuesLeft);
    }
    store4(dx + at, first, valuesLeft);
  }
}

/** `dx = dy·u·f'(x)` and `du = dy·f(x)`; without `u`, `dx = dy·f'(x)`. */
export function gateGradient(x: usize, u: usize, dy: usize, dx: usize, du: usize, count: i32, kind: i32): void {
  if (kind == 0) gateGradientOf(x, u, dy, dx, du, count, 0);
  else if (kind == 1) gateGradientOf(x, u, dy, dx, du, count, 1);
  else gateGradientOf(x, u, dy, dx, du, count, 2);
}
