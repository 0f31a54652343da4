import {load4, madd, store4, zeros} from '../../../../../backends/wasm/assembly/lanes';
import {total} from './exp';

// Normalizations of rows: `γ·(x − μ)/√(σ² + ε) + β`, or without a mean `γ·x/√(mean of x² + ε)`.

/** The mean of a row, or 0 for an RMS normalization. */
@inline
function meanOf(x: usize, width: i32, centered: bool): f32 {
  if (!centered) return 0;
  let sum = zeros();
  for (let j = 0; j < width; j += 4) {
    sum = f32x4.add(sum, load4(x + ((<usize>j) << 2), width - j));
  }
  return total(sum) / <f32>width;
}

/** The first `width − j` of the four values of `x`, less the mean; the others are zero. */
@inline
function centeredAt(x: usize, j: i32, width: i32, mean: v128): v128 {
  const p = x + ((<usize>j) << 2);
  const valuesLeft = width - j;
  const z = f32x4.sub(load4(p, valuesLeft), mean);
  if (valuesLeft >= 4) return z;
  return v128.and(z, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(valuesLeft)));
}

@inline
function inverseRoot(x: usize, width: i32, mean: v128, epsilon: f32): f32 {
  let sum = zeros();
  for (let j = 0; j < width; j += 4) {
    const z = centeredAt(x, j, width, mean);
    sum = madd(sum, z, z);
  }
  return <f32>1 / sqrt<f32>(total(sum) / <f32>width + epsilon);
}

/** `h = x + r`, or `x` without `r`, and `y`, its normalized rows; without `beta` nothing is added. */
export function normalizeRows(
  x: usize, r: usize, gamma: usize, beta: usize, h: usize, y: usize,
  rows: i32, width: i32, centered: i32, epsilon: f32,
): void {
  const stride: usize = (<usize>width) << 2;
  for (let i = 0; i < rows; i++) {
    let row = x;
    if (r) {
      for (let j = 0; j < width; j += 4) {
        const at: usize = (<usize>j) << 2;
        const sum = f32x4.add(load4(x + at, width - j), load4(r + at, width - j));
        store4(h + at, sum, width - j);
      }
      row = h;
      r += stride;
      h += stride;
    }
    const mean = f32x4.splat(meanOf(row, width, centered != 0));
    const root = f32x4.splat(inverseRoot(row, width, mean, epsilon));
    for (let j = 0; j < width; j += 4) {
      const at: usize = (<usize>j) << 2;
      const valuesLeft = width - j;
      let z = f32x4.mul(f32x4.mul(f32x4.sub(load4(row + at, valuesLeft), mean), root), load4(gamma + at, valuesLeft));
      if (beta) z = f32x4.add(z, load4(beta + at, valuesLeft));
      store4(y + at, z, valuesLeft);
    }
    x += stride;
    y += stride;
  }
}

/** The gradient in `x`: `(g − mean(g) − x̂·mean(g·x̂))/√(σ² + ε)`, `g = dy·γ`; without a mean, without `mean(g)`. */
export function normalizeRowsGradient(
  x: usize, gamma: usize, dy: usize, dx: usize, rows: i32, width: i32, centered: i32, epsilon: f32,
): void {
  const stride: usize = (<usize>width) << 2;
  for (let i = 0; i < rows; i++) {
    const mean = f32x4.splat(meanOf(x, width, centered != 0));
    const inverse = inverseRoot(x, width, mean, epsilon);
    const root = f32x4.splat(inverse);
    let sum = zeros();
    let along = zeros();
    for (let j = 0; j < width; j += 4) {
      const at: usize = (<usize>j) << 2;
      const g = f32x4.mul(load4(dy + at, width - j), load4(gamma + at, width - j));
      sum = f32x4.add(sum, g);
      along = madd(along, g, centeredAt(x, j, width, mean));
    }
    const shift = f32x4.splat(centered ? total(sum) / <f32>width : 0);
    const lean = f32x4.splat((total(along) / <f32>width) * inverse * inverse);
    for (let j = 0; j < width; j += 4) {
      const at: usize = (<usize>j) << 2;
      const valuesLeft = width - j;
      const g = f32x4.mul(load4(dy + at, valuesLeft), load4(gamma + at, valuesLeft));
      const z = f32x4.sub(load4(x + at, valuesLeft), mean);
      const result = f32x4.mul(f32x4.sub(f32x4.sub(g, shift), f32x4.mul(z, lean)), root);
      store4(dx + at, result, valuesLeft);
    }
    x += stride;
    dy += stride;
    dx += stride;
  }
}

/** The gradient in `γ`: the sums of `dy·x̂` over the rows. */
export function normalizeRowsWeights(
  x: usize, dy: usize, dgamma: usize, rows: i32, width: i32, centered: i32, epsilon: f32,
): void {
  const stride: usize = (<usize>width) << 2;
  memory.fill(dgamma, 0, stride);
  for (let i = 0; i < rows; i++) {
    const mean = f32x4.splat(meanOf(x, width, centered != 0));
    const root = f32x4.splat(inverseRoot(x, width, mean, epsilon));
    for (let j = 0; j < width; j += 4) {
      const at: usize = (<usize>j) << 2;
      const valuesLeft = width - j;
      const z = f32x4.mul(f32x4.sub(load4(x + at, valuesLeft), mean), root);
      const sum = madd(load4(dgamma + at, valuesLeft), z, load4(dy + at, valuesLeft));
      store4(dgamma + at, sum, valuesLeft);
    }
    x += stride;
    dy += stride;
  }
}
