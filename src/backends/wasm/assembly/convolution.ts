import {load4, madd, zeros} from './lanes';
import {storeClamped} from './tile';

/** `x [n, height, width, channels]` with zeros around: `[n, top + height + bottom, left + width + right, channels]`. */
export function pad(
  x: usize, n: i32, height: i32, width: i32, channels: i32,
  top: i32, bottom: i32, left: i32, right: i32,
  target: usize,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  const before: usize = pixel * <usize>left;
  const after: usize = pixel * <usize>right;
  const paddedLine: usize = before + line + after;
  for (let image = 0; image < n; image++) {
    memory.fill(target, 0, paddedLine * <usize>top);
    target += paddedLine * <usize>top;
    for (let row = 0; row < height; row++) {
      memory.fill(target, 0, before);
      memory.copy(target + before, x, line);
      memory.fill(target + before + line, 0, after);
      target += paddedLine;
      x += line;
    }
    memory.fill(target, 0, paddedLine * <usize>bottom);
    target += paddedLine * <usize>bottom;
  }
}

/**
 * `y[n, outHeight, outWidth, channelsOut] = clamp(x ∗ W + bias)`, summed in the order of the taps and, within a tap, of
 * the channels, as XNNPACK does it.
 *
 * @param x the image, padded: `[n, height, width, channelsIn]`.
 * @param taps the offsets of the taps from a pixel, in bytes.
 * @param panels of `[taps · channelsIn, channelsOut]`.
 */
export function convolve(
  x: usize, height: i32, width: i32, channelsIn: i32,
  n: i32, outHeight: i32, outWidth: i32, strideHeight: i32, strideWidth: i32,
  taps: usize, tapCount: i32,
  panels: usize, panel: usize,
  y: usize, channelsOut: i32,
  bias: usize, clamp: i32, lowest: f32, highest: f32,
): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  const pixels = n * outHeight * outWidth;
  const panelCount = (channelsOut + 7) >> 3;
  const pixel: usize = (<usize>channelsIn) << 2;
  const line: usize = pixel * <usize>width;
  const strideY: usize = (<usize>channelsOut) << 2;
  const stepX: usize = pixel * <usize>strideWidth;
  const stepY: usize = line * <usize>strideHeight;
  const stepImage: usize = line * <usize>height;
  let image = x;
  let row = x;
  let r = 0;
  let c = 0;
  for (let first = 0; first < pixels; first += 4) {
    const count = min(4, pixels - first);
    let q0: usize = 0, q1: usize = 0, q2: usize = 0, q3: usize = 0;
    for (let i = 0; i < count; i++) {
      const at = row + (<usize>c) * stepX;
      if (i == 0) {
        // Missing pixels compute the first one again, and their results are not stored.
        q0 = q1 = q2 = q3 = at;
      } else if (i == 1) {
        q1 = at;
      } else if (i == 2) {
        q2 = at;
      } else {
        q3 = at;
      }
      if (++c == outWidth) {
        c = 0;
        row += stepY;
        if (++r == outHeight) {
          r = 0;
          image += stepImage;
          row = image;
        }
      }
    }
    for (let j = 0; j < panelCount; j++) {
      const w = min(8, channelsOut - (j << 3));
      let b = panels + (<usize>j) * panel;
      let c0 = zeros();
      let c1 = zeros();
      if (bias) {
        const q = bias + ((<usize>j) << 5);
        c0 = load4(q, w);
        c1 = load4(q + 16, w - 4);
      }
      let a00 = c0, a01 = c1, a10 = c0, a11 = c1, a20 = c0, a21 = c1, a30 = c0, a31 = c1;
      let tap = taps;
      for (let t = tapCount; t > 0; t--) {
        const offset = <usize>load<i32>(tap);
        tap += 4;
        let p0 = q0 + offset;
        let p1 = q1 + offset;
        let p2 = q2 + offset;
        let p3 = q3 + offset;
        for (let k = channelsIn; k > 0; k--) {
          const b0 = v128.load(b);
          const b1 = v128.load(b, 16);
          const s0 = v128.load32_splat(p0);
          const s1 = v128.load32_splat(p1);
          const s2 = v128.load32_splat(p2);
          const s3 = v128.load32_splat(p3);
          a00 = madd(a00, s0, b0);
          a01 = madd(a01, s0, b1);
          a10 = madd(a10, s1, b0);
          a11 = madd(a11, s1, b1);
          a20 = madd(a20, s2, b0);
          a21 = madd(a21, s2, b1);
          a30 = madd(a30, s3, b0);
          a31 = madd(a31, s3, b1);
          b += 32;
          p0 += 4;
          p1 += 4;
          p2 += 4;
          p3 += 4;
        }
      }
      const o = y + (<usize>first) * strideY + ((<usize>j) << 5);
      storeClamped(o, strideY, count, w, clamp, low, high, a00, a01, a10, a11, a20, a21, a30, a31);
    }
  }
}
