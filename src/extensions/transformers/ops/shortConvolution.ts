import * as tf from '@tensorflow/tfjs';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';

interface ShortConvolutionInputs {
  /** A gate before the convolution, one after it, and the values: `[batch, positions, 3·width]`. */
  packed: tf.Tensor3D;
  /** `[taps, 1, width]`; the last tap is for the position itself. */
  kernel: tf.Tensor3D;
  bias: tf.Tensor1D | null;
  /** 0 for positions that count as zeros, `[batch, positions]`. */
  mask: tf.Tensor2D | null;
  /** The number of each position's example, if rows hold several: `[batch, positions]`. */
  examples: tf.Tensor2D | null;
}

/**
 * A gated causal convolution of each channel: `after·(conv(before·values) + bias)`. What comes before a text, or
 * belongs to another example, counts as zeros. Only the inputs are kept for the backward pass.
 *
 * @param preceded puts the last `count` earlier products before those of this pass. Default: zeros.
 */
export function shortConvolution(
  inputs: ShortConvolutionInputs,
  preceded = (product: tf.Tensor3D, count: number) => zeroPadded(product, count, 0),
): tf.Tensor3D {
  const {bias, mask, examples, ...tensors} = inputs;
  const reach = inputs.kernel.shape[0] - 1;
  const convolved = (product: tf.Tensor3D, {kernel, bias, examples}: ShortConvolutionInputs) => {
    const sum =
      examples === null
        ? depthwise(reach === 0 ? product : preceded(product, reach), kernel)
        : tf.addN(tapsOf(kernel).map(([tap, delay]) => tf.mul(tap, delayed(product, delay, examples))));
    return bias === null ? sum : tf.add(sum, bias);
  };
  return runLazyOp({
    inputs: {...tensors, ...(bias && {bias}), ...(mask && {mask}), ...(examples && {examples})},
    save: {packed: true, kernel: true, bias: bias !== null, mask: mask !== null, examples: examples !== null},
    forward: () => {
      const {after, product} = gated(inputs);
      return tf.mul(after, convolved(product, inputs));
    },
    gradient: (dy, saved) => {
      const savedInputs = {...inputs, ...saved} as ShortConvolutionInputs;
      const {kernel, examples} = savedInputs;
      const {before, after, values, product} = gated(savedInputs);
      const dz = tf.mul<tf.Tensor3D>(dy, after);
      return {
        packed: () => {
          const ofProduct =
            examples === null
              ? depthwise(zeroPadded(dz, 0, reach), tf.reverse(kernel, 0))
              : tf.addN(tapsOf(kernel).map(([tap, delay]) => tf.mul(tap, advanced(dz, delay, examples))));
          const shown = masked(ofProduct, savedInputs.mask);
          return tf.concat(
            [tf.mul(shown, values), tf.mul(dy, convolved(product, savedInputs)), tf.mul(shown, before)],
            2,
          );
        },
        kernel: () => {
          const ofTap = (delay: number) => tf.sum(tf.mul(dz, delayed(product, delay, examples)), [0, 1]);
          return tf.reshape(tf.stack(tapsOf(kernel).map(([, delay]) => ofTap(delay))), kernel.shape);
        },
        bias: () => tf.sum(dz, [0, 1]),
      };
    },
  }) as tf.Tensor3D;
}

/** The gates, the values, and the products of the first gate and the values, zeros where the mask is 0. */
function gated({packed, mask}: Pick<ShortConvolutionInputs, 'packed' | 'mask'>) {
  const [before, after, values] = tf.split(packed, 3, 2) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
  return {before, after, values, product: masked(tf.mul(before, values), mask)};
}

function masked(x: tf.Tensor, mask: tf.Tensor2D | null): tf.Tensor3D {
  return mask === null ? (x as tf.Tensor3D) : tf.mul(x, tf.expandDims(tf.cast(tf.notEqual(mask, 0), 'float32'), 2));
}

/** `[batch, positions + taps − 1, width]` → `[batch, positions, width]`. */
function depthwise(x: tf.Tensor3D, kernel: tf.Tensor3D): tf.Tensor3D {
  const [taps, , width] = kernel.shape;
  const filter = tf.reshape<tf.Rank.R4>(kernel, [taps, 1, width, 1]);
  return tf.squeeze(tf.depthwiseConv2d(tf.expandDims<tf.Tensor4D>(x, 2), filter, 1, 'valid'), [2]);
}

function zeroPadded(x: tf.Tensor3D, before: number, after: number): tf.Tensor3D {
  return tf.pad3d(x, [
    [0, 0],
    [before, after],
    [0, 0],
  ]);
}

/** Each tap, `[1, width]`, and how many positions back it reads. */
function tapsOf(kernel: tf.Tensor3D): [tap: tf.Tensor, delay: number][] {
  return tf.unstack(kernel).map((tap, i, {length}) => [tap, length - 1 - i]);
}

/** The values `delay` positions earlier in the same example, or zeros. */
function delayed(x: tf.Tensor3D, delay: number, examples: tf.Tensor2D | null): tf.Tensor3D {
  const earlier = tf.slice3d(zeroPadded(x, delay, 0), [0, 0, 0], x.shape);
  return examples === null ? earlier : tf.mul(earlier, isSame(examples, delay));
}

/** The values `delay` positions later in the same example, or zeros. */
function advanced(x: tf.Tensor3D, delay: number, examples: tf.Tensor2D): tf.Tensor3D {
  return tf.slice3d(zeroPadded(tf.mul(x, isSame(examples, delay)), 0, delay), [0, delay, 0], x.shape);
}

/** 1 where the position `delay` earlier belongs to the same example, `[batch, positions, 1]`. */
function isSame(examples: tf.Tensor2D, delay: number): tf.Tensor3D {
  const earlier = tf.slice(tf.pad(examples, [[0, 0], [delay, 0]], -1), [0, 0], examples.shape); // prettier-ignore
  return tf.expandDims(tf.cast(tf.equal(examples, earlier), 'float32'), 2);
}
