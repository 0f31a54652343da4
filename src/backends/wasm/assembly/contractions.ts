import {load4, madd, zeros} from './lanes';
import {storeSums, storeTile} from './tile';

// Products `aᵀ·b` over many rows, as the gradients of weights are: a tile of the result takes a part of the rows that
// stays in the cache. Each part is summed by itself: a single sum of many values would lose their last bits.

/**
 * Adds to a tile `out[height, width]`, at most 4 × 8, the products `aᵀ·b` over `lines` of `count` rows each.
 *
 * @param fresh whether the tile is written instead.
 */
function addTile(
  out: usize, strideOut: usize, height: i32, width: i32,
  a: usize, strideA: usize, lineA: usize,
  b: usize, strideB: usize, lineB: usize,
  lines: i32, count: i32, fresh: bool,
): void {
  let a00 = zeros(), a01 = a00, a10 = a00, a11 = a00, a20 = a00, a21 = a00, a30 = a00, a31 = a00;
  const secondWidth = width - 4;
  // A tile that is not as high takes the last number of its rows more than once, and leaves what comes of it.
  const o1: usize = height > 1 ? 4 : 0;
  const o2: usize = height > 2 ? 8 : o1;
  const o3: usize = height > 3 ? 12 : o2;
  const isFullTile = height >= 4 && width >= 8;
  for (let line = 0; line < lines; line++) {
    let x = b;
    let y = a;
    if (isFullTile) {
      for (let k = count; k > 0; k--) {
        const b0 = v128.load(x);
        const b1 = v128.load(x, 16);
        const s0 = v128.load32_splat(y);
        const s1 = v128.load32_splat(y, 4);
        const s2 = v128.load32_splat(y, 8);
        const s3 = v128.load32_splat(y, 12);
        a00 = madd(a00, s0, b0);
        a01 = madd(a01, s0, b1);
        a10 = madd(a10, s1, b0);
        a11 = madd(a11, s1, b1);
        a20 = madd(a20, s2, b0);
        a21 = madd(a21, s2, b1);
        a30 = madd(a30, s3, b0);
        a31 = madd(a31, s3, b1);
        x += strideB;
        y += strideA;
      }
    } else {
      for (let k = count; k > 0; k--) {
        const b0 = load4(x, width);
        const b1 = load4(x + 16, secondWidth);
        const s0 = v128.load32_splat(y);
        const s1 = v128.load32_splat(y + o1);
        const s2 = v128.load32_splat(y + o2);
        const s3 = v128.load32_splat(y + o3);
        a00 = madd(a00, s0, b0);
        a01 = madd(a01, s0, b1);
        a10 = madd(a10, s1, b0);
        a11 = madd(a11, s1, b1);
        a20 = madd(a20, s2, b0);
        a21 = madd(a21, s2, b1);
        a30 = madd(a30, s3, b0);
        a31 = madd(a31, s3, b1);
        x += strideB;
        y += strideA;
      }
    }
    a += lineA;
    b += lineB;
  }
  if (fresh) storeTile(out, strideOut, height, width, a00, a01, a10, a11, a20, a21, a30, a31);
  else storeSums(out, strideOut, out, strideOut, height, width, a00, a01, a10, a11, a20, a21, a30, a31);
}

/** `out[m, n] = a[rows, m]ᵀ · b[rows, n]`, by chunks of rows that stay in the cache. Strides are in bytes. */
export function multiplyTransposed(
  rows: i32, m: i32, n: i32,
  a: usize, strideA: usize,
  b: usize, strideB: usize,
  out: usize, strideOut: usize,
  chunk: i32,
): void {
  for (let row = 0; row < rows; row += chunk) {
    const count = min(chunk, rows - row);
    const x = b + (<usize>row) * strideB;
    const y = a + (<usize>row) * strideA;
    for (let j = 0; j < n; j += 8) {
      for (let i = 0; i < m; i += 4) {
        const at: usize = out + (<usize>i) * strideOut + ((<usize>j) << 2);
        addTile(
          at, strideOut, min(4, m - i), min(8, n - j),
          y + ((<usize>i) << 2), strideA, 0,
          x + ((<usize>j) << 2), strideB, 0,
          1, count, row == 0,
        );
      }
    }
  }
}

/**
 * The gradient of a convolution in its kernel, transposed:
 * `out[tap, out, in] = Σ dy[pixel, out]ᵀ · x[pixel at the tap, in]`.
 *
 * @param x the image, padded: `[n, height, width, channelsIn]`.
 * @param taps the offsets of the taps from a pixel, in bytes.
 */
export function convolutionKernelGradient(
  x: usize, height: i32, width: i32, channelsIn: i32,
  n: i32, outHeight: i32, outWidth: i32, strideHeight: i32, strideWidth: i32,
  taps: usize, tapCount: i32,
  dy: usize, channelsOut: i32,
  out: usize,
): void {
  const pixel: usize = (<usize>channelsIn) << 2;
  const line: usize = pixel * <usize>width;
  const pixelOut: usize = (<usize>channelsOut) << 2;
  const stepX: usize = pixel * <usize>strideWidth;
  const lineX: usize = line * <usize>strideHeight;
  const lineDy: usize = pixelOut * <usize>outWidth;
  const lines = max(1, 256 / outWidth);
  let fresh = true;
  for (let image = 0; image < n; image++) {
    for (let first = 0; first < outHeight; first += lines) {
      const count = min(lines, outHeight - first);
      const y = dy + (<usize>(image * outHeight + first)) * lineDy;
      for (let tap = 0; tap < tapCount; tap++) {
        const at = x + (<usize>(image * height + first * strideHeight)) * line + <usize>load<i32>(taps + ((<usize>tap) << 2));
        const o = out + (<usize>tap) * pixelOut * <usize>channelsIn;
        for (let j = 0; j < channelsIn; j += 8) {
          for (let i = 0; i < channelsOut; i += 4) {
            addTile(
              o + (<usize>i) * pixel + ((<usize>j) << 2), pixel, min(4, channelsOut - i), min(8, channelsIn - j),
              y + ((<usize>i) << 2), pixelOut, lineDy,
              at + ((<usize>j) << 2), stepX, lineX,
              count, outWidth, fresh,
            );
          }
        }
      }
      fresh = false;
    }
  }
}
