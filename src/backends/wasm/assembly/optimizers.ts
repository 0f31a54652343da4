import {loadTail, storeTail} from './lanes';

// A step of an optimizer over `count` values, as tfjs computes it. The new weights are written to separate memory,
// because others may share the old ones; the optimizer's slots are changed in place. Gradients are multiplied by
// `scale` first, which clips them or makes a sum a mean; by 1 the bits are those of the step without it.

/** Four values of Adam's step; the same code handles the last, possibly fewer, values. */
@inline
function adamLanes(
  w: v128, m: v128, v: v128,
  corrected1: v128, corrected2: v128, rate: v128, epsilon: v128,
): v128 {
  const root = f32x4.add(f32x4.sqrt(f32x4.div(v, corrected2)), epsilon);
  return f32x4.add(f32x4.mul(f32x4.div(f32x4.div(m, corrected1), root), rate), w);
}

/**
 * `m ← β₁·m + (1 − β₁)·g`, `v ← β₂·v + (1 − β₂)·g²`, `w' = decay·w − rate·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)`.
 *
 * @param corrected1 `1 − β₁ᵗ`.
 * @param corrected2 `1 − β₂ᵗ`.
 * @param decay the factor of the weights: 1 without weight decay.
 */
export function adam(
  w: usize, g: usize, m: usize, v: usize, out: usize, count: i32,
  beta1: f32, rest1: f32, beta2: f32, rest2: f32, corrected1: f32, corrected2: f32, rate: f32, epsilon: f32,
  scale: f32, decay: f32,
): void {
  const B1 = f32x4.splat(beta1);
  const R1 = f32x4.splat(rest1);
  const B2 = f32x4.splat(beta2);
  const R2 = f32x4.splat(rest2);
  const C1 = f32x4.splat(corrected1);
  const C2 = f32x4.splat(corrected2);
  const R = f32x4.splat(-rate);
  const E = f32x4.splat(epsilon);
  const S = f32x4.splat(scale);
  const K = f32x4.splat(decay);
  const vectorBytes: usize = (<usize>(count & ~3)) << 2;
  for (let i: usize = 0; i < vectorBytes; i += 16) {
    const gradient = f32x4.mul(v128.load(g + i), S);
    const first = f32x4.add(f32x4.mul(v128.load(m + i), B1), f32x4.mul(gradient, R1));
    const second = f32x4.add(f32x4.mul(v128.load(v + i), B2), f32x4.mul(f32x4.mul(gradient, gradient), R2));
    v128.store(m + i, first);
    v128.store(v + i, second);
    v128.store(out + i, adamLanes(f32x4.mul(v128.load(w + i), K), first, second, C1, C2, R, E));
  }
  const tailCount = count & 3;
  if (tailCount) {
    const gradient = f32x4.mul(loadTail(g + vectorBytes, tailCount), S);
    const first = f32x4.add(f32x4.mul(loadTail(m + vectorBytes, tailCount), B1), f32x4.mul(gradient, R1));
    const second = f32x4.add(f32x4.mul(loadTail(v + vectorBytes, tailCount), B2), f32x4.mul(f32x4.mul(gradient, gradient), R2));
    const updated = adamLanes(f32x4.mul(loadTail(w + vectorBytes, tailCount), K), first, second, C1, C2, R, E);
    storeTail(m + vectorBytes, first, first, tailCount);
    storeTail(v + vectorBytes, second, second, tailCount);
    storeTail(out + vectorBytes, updated, updated, tailCount);
  }
}

/** `a ← momentum·a + g`, `w' = w − rate·a`, or with Nesterov's momentum `w' = w − rate·(g + momentum·a)`. */
export function momentum(
  w: usize, g: usize, a: usize, out: usize, count: i32, factor: f32, rate: f32, nesterov: i32, scale: f32,
): void {
  const end: usize = (<usize>count) << 2;
  for (let i: usize = 0; i < end; i += 4) {
    const gradient = load<f32>(g + i) * scale;
    const sum: f32 = load<f32>(a + i) * factor + gradient;
    store<f32>(a + i, sum);
    const direction: f32 = nesterov ? gradient + sum * factor : sum;
    store<f32>(out + i, direction * -rate + load<f32>(w + i));
  }
}

/** `w' = w − rate·g`. */
export function descend(w: usize, g: usize, out: usize, count: i32, rate: f32, scale: f32): void {
  const end: usize = (<usize>count) << 2;
  for (let i: usize = 0; i < end; i += 4) {
    store<f32>(out + i, load<f32>(w + i) + load<f32>(g + i) * scale * -rate);
  }
}

/** `Σ g²`, in double precision: a part of the norm of all gradients. */
export function sumOfSquares(g: usize, count: i32): f64 {
  const end: usize = (<usize>count) << 2;
  let sum: f64 = 0;
  for (let i: usize = 0; i < end; i += 4) {
    const gradient = <f64>load<f32>(g + i);
    sum += gradient * gradient;
  }
  return sum;
}
