/**
 * Rotates pairs of values of each head by the angles of its position: `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin`.
 * The pairs are `(j, j + half)`, or `(2j, 2j + 1)` if they are interleaved; values beyond `2·half` do not change.
 *
 * @param cosines `[positions, half]`, like the sines. Row `i` of `x` has position `i % positions`.
 * @param sign −1 rotates back.
 */
export function rotate(
  x: usize, cosines: usize, sines: usize, y: usize,
  rows: i32, positions: i32, heads: i32, size: i32, half: i32, interleaved: i32, sign: f32,
): void {
  const step: usize = interleaved ? 8 : 4;
  const pairOffset: usize = interleaved ? 4 : (<usize>half) << 2;
  const head: usize = (<usize>size) << 2;
  const rotated: usize = (<usize>half) << 3;
  for (let i = 0; i < rows; i++) {
    const table: usize = (<usize>((i % positions) * half)) << 2;
    for (let k = 0; k < heads; k++) {
      let p: usize = 0;
      for (let j: usize = 0; j < <usize>half; j++) {
        const c = load<f32>(cosines + table + (j << 2));
        const s = load<f32>(sines + table + (j << 2)) * sign;
        const first = load<f32>(x + p);
        const second = load<f32>(x + p + pairOffset);
        store<f32>(y + p, first * c - second * s);
        store<f32>(y + p + pairOffset, second * c + first * s);
        p += step;
      }
      if (rotated < head) memory.copy(y + rotated, x + rotated, head - rotated);
      x += head;
      y += head;
    }
  }
}
