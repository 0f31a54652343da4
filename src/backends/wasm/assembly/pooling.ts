import {zeros} from './lanes';

/**
 * The gradient of max pooling, `[n, outDepth, outHeight, outWidth, c] → [n, depth, height, width, c]`: each number of
 * `dy` is added where `x` has the first maximum of its window. NaN is no maximum. Channels are multiples of four.
 *
 * @param front how many places a window begins ahead of its number times the stride, along the depth; `top` and `left`
 * along the others.
 */
export function maxPoolGradient(
  x: usize, dy: usize, dx: usize, n: i32, channels: i32,
  depth: i32, outDepth: i32, windowDepth: i32, strideDepth: i32, front: i32,
  height: i32, outHeight: i32, windowHeight: i32, strideHeight: i32, top: i32,
  width: i32, outWidth: i32, windowWidth: i32, strideWidth: i32, left: i32,
): void {
  const pixel: usize = (<usize>channels) << 2;
  const line: usize = pixel * <usize>width;
  const plane: usize = line * <usize>height;
  memory.fill(dx, 0, plane * <usize>(n * depth));
  for (let image = 0; image < n; image++) {
    for (let outPlane = 0; outPlane < outDepth; outPlane++) {
      const inPlane = outPlane * strideDepth - front;
      const firstPlane = max(0, inPlane);
      const planes = min(depth, inPlane + windowDepth) - firstPlane;
      for (let row = 0; row < outHeight; row++) {
        const inRow = row * strideHeight - top;
        const firstRow = max(0, inRow);
        const rows = min(height, inRow + windowHeight) - firstRow;
        const corner: usize = (<usize>(image * depth + firstPlane)) * plane + (<usize>firstRow) * line;
        for (let column = 0; column < outWidth; column++) {
          const inColumn = column * strideWidth - left;
          const firstColumn = max(0, inColumn);
          const columns = min(width, inColumn + windowWidth) - firstColumn;
          const at: usize = corner + (<usize>firstColumn) * pixel;
          for (let k: usize = at; k < at + pixel; k += 16) {
            // The number, in its window, of the first maximum of each lane.
            let best = zeros();
            let maximum = f32x4.splat(-Infinity);
            let i = 0;
            for (let z = 0; z < planes; z++) {
              for (let y = 0; y < rows; y++) {
                let p = k + (<usize>z) * plane + (<usize>y) * line + x;
                for (let c = columns; c > 0; c--) {
                  const value = v128.load(p);
                  best = v128.bitselect(i32x4.splat(i++), best, f32x4.gt(value, maximum));
                  maximum = f32x4.pmax(maximum, value);
                  p += pixel;
                }
              }
            }
            const gradient = v128.load(dy);
            i = 0;
            for (let z = 0; z < planes; z++) {
              for (let y = 0; y < rows; y++) {
                let p = k + (<usize>z) * plane + (<usize>y) * line + dx;
                for (let c = columns; c > 0; c--) {
                  const routed = v128.and(gradient, i32x4.eq(best, i32x4.splat(i++)));
                  v128.store(p, f32x4.add(v128.load(p), routed));
                  p += pixel;
                }
              }
            }
            dy += 16;
          }
        }
      }
    }
  }
}
