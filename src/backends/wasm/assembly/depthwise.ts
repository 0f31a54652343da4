import {clampTo, madd, zeros} from './lanes';

// Depthwise convolutions with one filter a channel. Channels are multiples of four.

/** The smallest whole number that is not below `a / b`, for `b` above 0. */
@inline
function ceilDivide(a: i32, b: i32): i32 {
  return a > 0 ? (a + b - 1) / b : -(-a / b);
}

/** `y = clamp(x ∗ W + bias)`: `[n, height, width, c] ∗ [kernelHeight, kernelWidth, c] → [n, outHeight, outWidth, c]` */
export function depthwise(
  x: usize, n: i32, height: i32, width: i32, channels: i32,
  kernel: usize, kernelHeight: i32, kernelWidth: i32,
  outHeight: i32, outWidth: i32, strideHeight: i32, strideWidth: i32, top: i32, left: i32,
  y: usize,
  bias: usize, lowest: f32, highest: f32,
): void {
  const low = f32x4.splat(lowest);
  const high = f32x4.splat(highest);
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  const kernelLine: usize = pixel * <usize>kernelWidth;
  // Between these, all columns of the kernel meet the image.
  const firstWhole = max(0, ceilDivide(left, strideWidth));
  const pastWhole = min(outWidth, width + left < kernelWidth ? 0 : (width + left - kernelWidth) / strideWidth + 1);
  const isThree = kernelWidth == 3;
  let o = y;
  for (let image = 0; image < n; image++) {
    for (let row = 0; row < outHeight; row++) {
      const inRow = row * strideHeight - top;
      const firstTap = max(0, -inRow);
      const rows = min(kernelHeight, height - inRow) - firstTap;
      const from = x + (<usize>(image * height + inRow + firstTap)) * line;
      const taps = kernel + (<usize>firstTap) * kernelLine;
      let column = 0;
      while (column < outWidth) {
        const inColumn = column * strideWidth - left;
        const at = from + (<usize>inColumn) * pixel;
        if (isThree && strideWidth == 1 && column >= firstWhole && column + 4 <= pastWhole) {
          for (let k: usize = 0; k < pixel; k += 16) {
            let a0 = bias ? v128.load(bias + k) : zeros(), a1 = a0, a2 = a0, a3 = a0;
            let p = at + k;
            let q = taps + k;
            for (let r = rows; r > 0; r--) {
              const w0 = v128.load(q);
              const w1 = v128.load(q + pixel);
              const w2 = v128.load(q + pixel + pixel);
              let t = p;
              const v0 = v128.load(t);
              t += pixel;
              const v1 = v128.load(t);
              t += pixel;
              const v2 = v128.load(t);
              t += pixel;
              const v3 = v128.load(t);
              t += pixel;
              const v4 = v128.load(t);
              t += pixel;
              const v5 = v128.load(t);
              a0 = madd(madd(madd(a0, v0, w0), v1, w1), v2, w2);
              a1 = madd(madd(madd(a1, v1, w0), v2, w1), v3, w2);
              a2 = madd(madd(madd(a2, v2, w0), v3, w1), v4, w2);
              a3 = madd(madd(madd(a3, v3, w0), v4, w1), v5, w2);
              p += line;
              q += kernelLine;
            }
            let e = o + k;
            v128.store(e, clampTo(low, high, a0));
            e += pixel;
            v128.store(e, clampTo(low, high, a1));
            e += pixel;
            v128.store(e, clampTo(low, high, a2));
            e += pixel;
            v128.store(e, clampTo(low, high, a3));
          }
          o += 4 * pixel;
          column += 4;
        } else if (isThree && strideWidth == 2 && column >= firstWhole && column + 2 <= pastWhole) {
          for (let k: usize = 0; k < pixel; k += 16) {
            let a0 = bias ? v128.load(bias + k) : zeros(), a1 = a0;
            let p = at + k;
            let q = taps + k;
            for (let r = rows; r > 0; r--) {
              const w0 = v128.load(q);
              const w1 = v128.load(q + pixel);
              const w2 = v128.load(q + pixel + pixel);
              let t = p;
              const v0 = v128.load(t);
              t += pixel;
              const v1 = v128.load(t);
              t += pixel;
              const v2 = v128.load(t);
              t += pixel;
              const v3 = v128.load(t);
              t += pixel;
              const v4 = v128.load(t);
              a0 = madd(madd(madd(a0, v0, w0), v1, w1), v2, w2);
              a1 = madd(madd(madd(a1, v2, w0), v3, w1), v4, w2);
              p += line;
              q += kernelLine;
            }
            v128.store(o + k, clampTo(low, high, a0));
            v128.store(o + k + pixel, clampTo(low, high, a1));
          }
          o += 2 * pixel;
          column += 2;
        } else {
          const firstColumn = max(0, -inColumn);
          const columns = min(kernelWidth, width - inColumn) - firstColumn;
          const skipped: usize = (<usize>firstColumn) * pixel;
          for (let k: usize = 0; k < pixel; k += 16) {
            let a0 = bias ? v128.load(bias + k) : zeros();
            let p = at + skipped + k;
            let q = taps + skipped + k;
            for (let r = rows; r > 0; r--) {
              let t = p;
              let u = q;
              for (let c = columns; c > 0; c--) {
                a0 = madd(a0, v128.load(t), v128.load(u));
                t += pixel;
                u += pixel;
              }
              p += line;
              q += kernelLine;
            }
            v128.store(o + k, clampTo(low, high, a0));
          }
          o += pixel;
          column++;
        }
      }
    }
  }
}

/**
 * The gradient in the input, `[n, outHeight, outWidth, c] → [n, height, width, c]`: each number gathers what the
 * outputs give that it had a part in. With a stride those are few, at every stride-th tap.
 */
export function depthwiseInputGradient(
  dy: usize, n: i32, outHeight: i32, outWidth: i32, channels: i32,
  kernel: usize, kernelHeight: i32, kernelWidth: i32,
  height: i32, width: i32, strideHeight: i32, strideWidth: i32, top: i32, left: i32,
  dx: usize,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>outWidth;
  let o = dx;
  for (let image = 0; image < n; image++) {
    for (let row = 0; row < height; row++) {
      // Taps i = first, first + stride, … meet the outputs last, last − 1, …
      let firstRow = (row + top) % strideHeight;
      let lastRow = (row + top) / strideHeight;
      if (lastRow >= outHeight) {
        firstRow += (lastRow - outHeight + 1) * strideHeight;
        lastRow = outHeight - 1;
      }
      const rows = firstRow < kernelHeight ? min(lastRow + 1, (kernelHeight - 1 - firstRow) / strideHeight + 1) : 0;
      for (let column = 0; column < width; column++) {
        let firstColumn = (column + left) % strideWidth;
        let lastColumn = (column + left) / strideWidth;
        if (lastColumn >= outWidth) {
          firstColumn += (lastColumn - outWidth + 1) * strideWidth;
          lastColumn = outWidth - 1;
        }
        const columns =
          firstColumn < kernelWidth ? min(lastColumn + 1, (kernelWidth - 1 - firstColumn) / strideWidth + 1) : 0;
        const at = dy + (<usize>(image * outHeight + lastRow)) * line + (<usize>lastColumn) * pixel;
        const taps = kernel + (<usize>(firstRow * kernelWidth + firstColumn)) * pixel;
        const tapLine: usize = pixel * <usize>(kernelWidth * strideHeight);
        const tapStep: usize = pixel * <usize>strideWidth;
        for (let k: usize = 0; k < pixel; k += 16) {
          let a = zeros();
          let p = at + k;
          let q = taps + k;
          for (let r = rows; r > 0; r--) {
            let t = p;
            let u = q;
            for (let c = columns; c > 0; c--) {
              a = madd(a, v128.load(t), v128.load(u));
              t -= pixel;
              u += tapStep;
            }
            p -= line;
            q += tapLine;
          }
          v128.store(o + k, a);
        }
        o += pixel;
      }
    }
  }
}

/** The gradient in the kernel, `[kernelHeight, kernelWidth, c]`. */
export function depthwiseKernelGradient(
  x: usize, n: i32, height: i32, width: i32, channels: i32,
  dy: usize, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, top: i32, left: i32,
  out: usize,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  const lineOut: usize = pixel * <usize>outWidth;
  const step: usize = pixel * <usize>strideWidth;
  memory.fill(out, 0, pixel * <usize>(kernelHeight * kernelWidth));
  for (let image = 0; image < n; image++) {
    for (let row = 0; row < outHeight; row++) {
      const d = dy + (<usize>(image * outHeight + row)) * lineOut;
      for (let i = 0; i < kernelHeight; i++) {
        const inRow = row * strideHeight - top + i;
        if (inRow < 0 || inRow >= height) continue;
        const from = x + (<usize>(image * height + inRow)) * line;
        for (let j = 0; j < kernelWidth; j++) {
          const first = max(0, ceilDivide(left - j, strideWidth));
          const reach = width - 1 + left - j;
          const past = reach < 0 ? 0 : min(outWidth, reach / strideWidth + 1);
          const o = out + (<usize>(i * kernelWidth + j)) * pixel;
          const at = from + (<usize>(first * strideWidth - left + j)) * pixel;
          for (let k: usize = 0; k < pixel; k += 16) {
            let a = v128.load(o + k);
            let p = at + k;
            let q = d + (<usize>first) * pixel + k;
            for (let c = past - first; c > 0; c--) {
              a = madd(a, v128.load(p), v128.load(q));
              p += step;
              q += pixel;
            }
            v128.store(o + k, a);
          }
        }
      }
    }
  }
}

/** The kernel rotated by 180°: `[taps, c]`. */
export function flipTaps(kernel: usize, taps: i32, channels: i32, target: usize): void {
  const pixel: usize = (<usize>channels) << 2;
  for (let i = 0; i < taps; i++) {
    memory.copy(target + (<usize>i) * pixel, kernel + (<usize>(taps - 1 - i)) * pixel, pixel);
  }
}
