import * as tf from '@tensorflow/tfjs';
import {everyNth, withZerosBetween} from '../../backends/shared/geometry';

// tfjs has no gradient for dilated convolutions, but has one if the kernel is spread out with zeros instead.

/** The dilation rates of an image's two axes. */
type Rates = [number, number];

/** The extent of a kernel axis of `size` entries with `rate − 1` zeros between them. */
function reach(size: number, rate: number): number {
  return (size - 1) * rate + 1;
}

export function inflatedShape([h = 1, w = 1, ...channels]: number[], [rateH, rateW]: Rates): tf.Tensor4D['shape'] {
  return [reach(h, rateH), reach(w, rateW), ...channels] as tf.Tensor4D['shape'];
}

/** `[kh, kw, …]` with zeros between the entries. */
export function inflate(kernel: tf.Tensor4D, [rateH, rateW]: Rates): tf.Tensor4D {
  return withZerosBetween(withZerosBetween(kernel, 0, rateH), 1, rateW);
}

/** The entries of an inflated kernel, without the zeros between them. */
export function deflate(kernel: tf.Tensor4D, [rateH, rateW]: Rates): tf.Tensor4D {
  const [reachH, reachW] = kernel.shape;
  const rows = everyNth(kernel, 0, 0, (reachH - 1) / rateH + 1, rateH);
  return everyNth(rows, 1, 0, (reachW - 1) / rateW + 1, rateW);
}
