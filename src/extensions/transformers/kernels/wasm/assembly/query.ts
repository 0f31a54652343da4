import {load4, madd, store4, store8, zeros} from '../../../../../backends/wasm/assembly/lanes';

// Attention of one query, which reads keys and values where they are. Each value is summed in the same order as with
// panels, so the bits are the same.

/** Columns `0` to `3` of four keys from `d` on, one column after the other: `s + Σ q[d]·k[j][d]`. */
@inline
function scores4(s: v128, q: v128, r0: v128, r1: v128, r2: v128, r3: v128): v128 {
  const t0 = i32x4.shuffle(r0, r1, 0, 4, 1, 5);
  const t1 = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
  const t2 = i32x4.shuffle(r0, r1, 2, 6, 3, 7);
  const t3 = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
  s = madd(s, i32x4.shuffle(q, q, 0, 0, 0, 0), i64x2.shuffle(t0, t1, 0, 2));
  s = madd(s, i32x4.shuffle(q, q, 1, 1, 1, 1), i64x2.shuffle(t0, t1, 1, 3));
  s = madd(s, i32x4.shuffle(q, q, 2, 2, 2, 2), i64x2.shuffle(t2, t3, 0, 2));
  return madd(s, i32x4.shuffle(q, q, 3, 3, 3, 3), i64x2.shuffle(t2, t3, 1, 3));
}

/** `scores[j] = Σ q[d]·k[j][d]` for `keys` rows of `size` values, `stride` bytes apart. */
export function scoreKeys(q: usize, k: usize, stride: usize, keys: i32, size: i32, scores: usize): void {
  for (let j = 0; j < keys; j += 8) {
    const last = min(7, keys - 1 - j);
    const k1 = k + <usize>min(1, last) * stride;
    const k2 = k + <usize>min(2, last) * stride;
    const k3 = k + <usize>min(3, last) * stride;
    const k4 = k + <usize>min(4, last) * stride;
    const k5 = k + <usize>min(5, last) * stride;
    const k6 = k + <usize>min(6, last) * stride;
    const k7 = k + <usize>last * stride;
    let s0 = zeros();
    let s1 = s0;
    for (let d = 0; d < size; d += 4) {
      const at: usize = (<usize>d) << 2;
      const n = size - d; // values left
      const x = load4(q + at, n);
      s0 = scores4(s0, x, load4(k + at, n), load4(k1 + at, n), load4(k2 + at, n), load4(k3 + at, n));
      s1 = scores4(s1, x, load4(k4 + at, n), load4(k5 + at, n), load4(k6 + at, n), load4(k7 + at, n));
    }
    store8(scores, s0, s1, keys - j);
    scores += 32;
    k += stride << 3;
  }
}

/** `y[d] = Σ p[j]·v[j][d]` for `keys` rows of `size` values, `stride` bytes apart. */
export function sumValues(p: usize, v: usize, stride: usize, keys: i32, size: i32, y: usize): void {
  let d = 0;
  for (; d + 16 <= size; d += 16) {
    let row = v + ((<usize>d) << 2);
    let s0 = zeros(), s1 = s0, s2 = s0, s3 = s0;
    for (let j = 0; j < keys; j++) {
      const x = v128.load32_splat(p + ((<usize>j) << 2));
      s0 = madd(s0, x, v128.load(row));
      s1 = madd(s1, x, v128.load(row, 16));
      s2 = madd(s2, x, v128.load(row, 32));
      s3 = madd(s3, x, v128.load(row, 48));
      row += stride;
    }
    const to = y + ((<usize>d) << 2);
    v128.store(to, s0);
    v128.store(to, s1, 16);
    v128.store(to, s2, 32);
    v128.store(to, s3, 48);
  }
  for (; d < size; d += 4) {
    let row = v + ((<usize>d) << 2);
    let s = zeros();
    for (let j = 0; j < keys; j++) {
      s = madd(s, v128.load32_splat(p + ((<usize>j) << 2)), load4(row, size - d));
      row += stride;
    }
    store4(y + ((<usize>d) << 2), s, size - d);
  }
}
