import {clampTo, zeros} from './lanes';
import {multiply} from './products';

// Winograd's F(4×4, 3×3) (Lavin and Gray, arXiv 1509.09308): a tile of 4 × 4 outputs from 6 × 6 inputs with 36 products
// instead of 144. Transformed tiles are stored as `[36, tiles, channels]`, so that 36 matrix products remain. Channels
// are multiples of four.

/** One row or column of `Bᵀ·d`. */
@inline
function transformInput(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, o: usize, step: usize): void {
  const four = f32x4.splat(4);
  const five = f32x4.splat(5);
  const even = f32x4.sub(d4, f32x4.mul(d2, four));
  const odd = f32x4.sub(d3, f32x4.mul(d1, four));
  const evener = f32x4.sub(d4, d2);
  const half = f32x4.sub(d3, d1);
  const odder = f32x4.add(half, half);
  v128.store(o, f32x4.add(f32x4.sub(f32x4.mul(d0, four), f32x4.mul(d2, five)), d4));
  o += step;
  v128.store(o, f32x4.add(even, odd));
  o += step;
  v128.store(o, f32x4.sub(even, odd));
  o += step;
  v128.store(o, f32x4.add(evener, odder));
  o += step;
  v128.store(o, f32x4.sub(evener, odder));
  o += step;
  v128.store(o, f32x4.add(f32x4.sub(f32x4.mul(d1, four), f32x4.mul(d3, five)), d5));
}

/**
 * `Bᵀ·d·B` of all tiles of an image that is padded to whole tiles.
 *
 * @param width of the padded image.
 * @param stride bytes from one tile to the next.
 * @param plane bytes from one of the 36 to the next.
 * @param scratch 576 bytes.
 */
export function winogradInput(
  x: usize, width: i32, channels: i32, tilesDown: i32, tilesAcross: i32,
  target: usize, stride: usize, plane: usize, scratch: usize,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  for (let i = 0; i < tilesDown; i++) {
    for (let j = 0; j < tilesAcross; j++) {
      const tile = x + (<usize>(i * 4)) * line + (<usize>(j * 4)) * pixel;
      const d = target + (<usize>(i * tilesAcross + j)) * stride;
      for (let k: usize = 0; k < pixel; k += 16) {
        let column = tile + k;
        let s = scratch;
        for (let q = 0; q < 6; q++) {
          let r = column;
          const d0 = v128.load(r);
          r += line;
          const d1 = v128.load(r);
          r += line;
          const d2 = v128.load(r);
          r += line;
          const d3 = v128.load(r);
          r += line;
          const d4 = v128.load(r);
          r += line;
          transformInput(d0, d1, d2, d3, d4, v128.load(r), s, 96);
          s += 16;
          column += pixel;
        }
        s = scratch;
        let o = d + k;
        for (let q = 0; q < 6; q++) {
          transformInput(
            v128.load(s), v128.load(s, 16), v128.load(s, 32), v128.load(s, 48), v128.load(s, 64), v128.load(s, 80),
            o, plane,
          );
          s += 96;
          o += 6 * plane;
        }
      }
    }
  }
}

/**
 * The 36 products of tiles with kernels, `[tiles, channelsIn] · panels → [tiles, channelsOut]`.
 *
 * @param inputPlane bytes from one of the 36 to the next, as for the others.
 */
export function winogradProducts(
  tiles: i32, channelsOut: i32, channelsIn: i32,
  inputs: usize, inputPlane: usize, kernels: usize, kernelPlane: usize, outputs: usize, outputPlane: usize,
): void {
  const stride: usize = (<usize>channelsIn) << 2;
  for (let t = 0; t < 36; t++) {
    multiply(
      tiles, channelsOut, channelsIn, inputs, stride, kernels, stride << 3, outputs, (<usize>channelsOut) << 2,
      0, 0, 0, 0, 0, 1, 0,
    );
    inputs += inputPlane;
    kernels += kernelPlane;
    outputs += outputPlane;
  }
}

/**
 * `clamp(Aᵀ·m·A + bias)` of all tiles, into an image; of the last tiles what is in it.
 *
 * @param plane bytes from one of the 36 to the next.
 * @param scratch 384 bytes.
 */
export function winogradOutput(
  m: usize, plane: usize, channels: i32, tilesDown: i32, tilesAcross: i32,
  y: usize, height: i32, width: i32,
  bias: usize, clamp: i32, lowest: f32, highest: f32, scratch: usize,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  const low = f32x4.splat(clamp ? lowest : -Infinity);
  const high = f32x4.splat(clamp ? highest : Infinity);
  const two = f32x4.splat(2);
  const four = f32x4.splat(4);
  const eight = f32x4.splat(8);
  const row: usize = plane * 6;
  for (let i = 0; i < tilesDown; i++) {
    const rows = min(4, height - i * 4);
    for (let j = 0; j < tilesAcross; j++) {
      const columns = min(4, width - j * 4);
      const tile = m + (<usize>(i * tilesAcross + j)) * pixel;
      const q = y + (<usize>(i * 4)) * line + (<usize>(j * 4)) * pixel;
      for (let k: usize = 0; k < pixel; k += 16) {
        let s = scratch;
        let r = tile + k;
        for (let column = 0; column < 6; column++) {
          let p = r;
          const m0 = v128.load(p);
          p += row;
          const m1 = v128.load(p);
          p += row;
          const m2 = v128.load(p);
          p += row;
          const m3 = v128.load(p);
          p += row;
          const m4 = v128.load(p);
          p += row;
          const m5 = v128.load(p);
          const s1 = f32x4.add(m1, m2);
          const s2 = f32x4.sub(m1, m2);
          const s3 = f32x4.add(m3, m4);
          const s4 = f32x4.sub(m3, m4);
          v128.store(s, f32x4.add(f32x4.add(m0, s1), s3));
          v128.store(s, f32x4.add(s2, f32x4.mul(s4, two)), 96);
          v128.store(s, f32x4.add(s1, f32x4.mul(s3, four)), 192);
          v128.store(s, f32x4.add(f32x4.add(s2, f32x4.mul(s4, eight)), m5), 288);
          s += 16;
          r += plane;
        }
        const b = bias ? v128.load(bias + k) : zeros();
        s = scratch;
        let o = q + k;
        for (let count = rows; count > 0; count--) {
          const m0 = v128.load(s);
          const m1 = v128.load(s, 16);
          const m2 = v128.load(s, 32);
          const m3 = v128.load(s, 48);
          const m4 = v128.load(s, 64);
          const m5 = v128.load(s, 80);
          const s1 = f32x4.add(f32x4.add(m1, m2), b);
          const s2 = f32x4.add(f32x4.sub(m1, m2), b);
          const s3 = f32x4.add(m3, m4);
          const s4 = f32x4.sub(m3, m4);
          let e = o;
          v128.store(e, clampTo(low, high, f32x4.add(f32x4.add(m0, s1), s3)));
          if (columns > 1) {
            e += pixel;
            v128.store(e, clampTo(low, high, f32x4.add(s2, f32x4.mul(s4, two))));
          }
          if (columns > 2) {
            e += pixel;
            v128.store(e, clampTo(low, high, f32x4.add(s1, f32x4.mul(s3, four))));
          }
          if (columns > 3) {
            e += pixel;
            v128.store(e, clampTo(low, high, f32x4.add(f32x4.add(s2, f32x4.mul(s4, eight)), m5)));
          }
          s += 96;
          o += line;
        }
      }
    }
  }
}

/** One row or column of `G·g`. */
@inline
function transformTaps(g0: v128, g1: v128, g2: v128, o: usize, step: usize): void {
  const sixth = f32x4.splat(1.0 / 6.0);
  const outer = f32x4.mul(f32x4.add(g0, g2), f32x4.splat(-1.0 / 6.0));
  const inner = f32x4.mul(g1, sixth);
  const wide = f32x4.add(f32x4.mul(g0, f32x4.splat(1.0 / 24.0)), f32x4.mul(g2, sixth));
  const narrow = f32x4.mul(g1, f32x4.splat(1.0 / 12.0));
  v128.store(o, f32x4.mul(g0, f32x4.splat(0.25)));
  o += step;
  v128.store(o, f32x4.sub(outer, inner));
  o += step;
  v128.store(o, f32x4.add(outer, inner));
  o += step;
  v128.store(o, f32x4.add(wide, narrow));
  o += step;
  v128.store(o, f32x4.sub(wide, narrow));
  o += step;
  v128.store(o, g2);
}

/**
 * `G·g·Gᵀ` of a kernel `[3, 3, channelsIn, channelsOut]`, into 36 times the panels of `[channelsIn, channelsOut]`.
 *
 * @param flipped whether the kernel is `[3, 3, channelsOut, channelsIn]`, to be rotated by 180°, as the gradient in the
 * input takes it.
 * @param first of the kernel's rows to transform: those of its third axis, which are `count`.
 * @param panel bytes from one panel to the next.
 * @param plane bytes from one of the 36 to the next.
 * @param scratch 1088 bytes.
 */
export function winogradKernel(
  kernel: usize, channelsIn: i32, channelsOut: i32, flipped: i32, first: i32, count: i32,
  target: usize, panel: usize, plane: usize, scratch: usize,
): void {
  const inner: usize = (<usize>(flipped ? channelsIn : channelsOut)) << 2;
  const outer = flipped ? channelsOut : channelsIn;
  const tap: usize = inner * <usize>outer;
  const done = scratch + 512;
  for (let i = first; i < first + count; i++) {
    for (let k: usize = 0; k < inner; k += 16) {
      const p = kernel + (<usize>i) * inner + k;
      for (let column = 0; column < 3; column++) {
        const g0 = v128.load(p + (<usize>(flipped ? 8 - column : column)) * tap);
        const g1 = v128.load(p + (<usize>(flipped ? 5 - column : 3 + column)) * tap);
        const g2 = v128.load(p + (<usize>(flipped ? 2 - column : 6 + column)) * tap);
        transformTaps(g0, g1, g2, scratch + ((<usize>column) << 4), 48);
      }
      for (let row = 0; row < 6; row++) {
        const s = scratch + (<usize>row) * 48;
        transformTaps(v128.load(s), v128.load(s, 16), v128.load(s, 32), done + (<usize>row) * 96, 16);
      }
      if (flipped) {
        let d = target + (<usize>(i >> 3)) * panel + (k << 3) + ((<usize>(i & 7)) << 2);
        for (let t = 0; t < 36; t++) {
          const v = v128.load(done + ((<usize>t) << 4));
          v128.store32_lane(d, v, 0);
          v128.store32_lane(d, v, 1, 32);
          v128.store32_lane(d, v, 2, 64);
          v128.store32_lane(d, v, 3, 96);
          d += plane;
        }
      } else {
        let d = target + (k >> 5) * panel + ((<usize>i) << 5) + (k & 31);
        for (let t = 0; t < 36; t++) {
          v128.store(d, v128.load(done + ((<usize>t) << 4)));
          d += plane;
        }
      }
    }
  }
}
