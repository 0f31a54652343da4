import * as tf from '@tensorflow/tfjs';

interface Attributes {
  filterSize: number | [number, number];
  strides: number | [number, number];
  pad: 'valid' | 'same' | number;
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
}

/**
 * Factors for the gradient of an average pool, one for each output, `[1, h, w, 1]`. tfjs divides the gradient by the
 * size of the whole window, also where part of the window lies outside the image and the average is over the rest.
 * `undefined` where all windows lie inside.
 */
export function shareOfWindows(inputShape: readonly number[], attrs: tf.NamedAttrMap): tf.Tensor4D | undefined {
  const {filterSize, strides, pad, dimRoundingMode} = attrs as unknown as Attributes;
  const shape = inputShape as [number, number, number, number];
  const info = tf.backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
  const rows = counts(info.outHeight, info.strideHeight, info.padInfo.top, info.filterHeight, info.inHeight);
  const columns = counts(info.outWidth, info.strideWidth, info.padInfo.left, info.filterWidth, info.inWidth);
  const whole = info.filterHeight * info.filterWidth;
  const shares = rows.flatMap(height => columns.map(width => whole / Math.max(1, height * width)));
  return shares.every(share => share === 1) ? undefined : tf.tensor4d(shares, [1, info.outHeight, info.outWidth, 1]);
}

/** How many pixels of the image are in each window along an axis. */
function counts(windows: number, stride: number, before: number, size: number, length: number): number[] {
  return Array.from({length: windows}, (_, i) => {
    const start = i * stride - before;
    return Math.min(start + size, length) - Math.max(start, 0);
  });
}
