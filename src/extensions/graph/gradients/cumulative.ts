import * as tf from '@tensorflow/tfjs';
import {padOrCrop} from '../../../backends/shared/geometry';
import type {OwnKernel} from '../../../backends/shared/registration';

/**
 * `Cumsum` and `Cumprod` along a negative axis. tfjs's backends use it as it is: on cpu the result has the wrong
 * shape, and wasm writes out of bounds. They take any axis beyond the last for the last. On wasm, an empty tensor
 * leads to a division by 0. On webgl, those of truth values are truth values. On webgpu, those of integers are
 * transposed by a shader that does not compile: here they are computed with floats, which hold integers up to 2^24.
 */
export const cumulativeKernels: readonly OwnKernel[] = [tf.Cumsum, tf.Cumprod].map(name => ({
  name,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: call => {
        const {x} = call.inputs as {x: tf.Tensor};
        const last = Math.max(0, x.shape.length - 1);
        const [axis = 0] = tf.util.parseAxisParam(Math.min(call.attrs?.axis as number, last), x.shape);
        if (x.size === 0) {
          return tf.zeros(x.shape, tf.upcastType(x.dtype, 'int32'));
        }
        const dtype = x.dtype === 'bool' ? 'int32' : stock.backendName === 'webgpu' ? 'float32' : x.dtype;
        if (dtype !== x.dtype) {
          return tf.tidy(() =>
            tf.cast(tf.engine().runKernel<tf.Tensor>(name, {x: tf.cast(x, dtype)}, call.attrs), 'int32'),
          );
        }
        return stock.kernelFunc({...call, attrs: {...call.attrs, axis}});
      },
    },
}));

/**
 * The gradient of cumulative sums: its cumulative sums in the other direction. tfjs transposes its own along most axes.
 */
export const cumsumGradient: tf.GradConfig = {
  kernelName: tf.Cumsum,
  gradFunc: (dy, _, attrs) => {
    const {axis, exclusive, reverse} = attrs as unknown as tf.CumsumAttrs;
    return {x: () => tf.cumsum(dy as tf.Tensor, axis, exclusive, !reverse)};
  },
};

/**
 * The gradient of cumulative products, `y[i] = x[0] ⋯ x[i]`, or `⋯ x[i − 1]` if they are exclusive:
 *
 *     dx[k] = (x[0] ⋯ x[k − 1]) · r[k],   r[k] = dy[k] + x[k + 1] · r[k + 1]
 *     exclusive:   r[k] = dy[k + 1] + x[k + 1] · r[k + 1]
 *
 * Without a division, so that zeros are right.
 */
export const cumprodGradient: tf.GradConfig = {
  kernelName: tf.Cumprod,
  inputsToSave: ['x'],
  gradFunc: (dy, saved, attrs) => ({
    x: () => tf.tidy(() => gradient(dy as tf.Tensor, saved[0] as tf.Tensor, attrs as unknown as tf.CumprodAttrs)),
  }),
};

function gradient(dy: tf.Tensor, x: tf.Tensor, {axis, exclusive, reverse}: tf.CumprodAttrs): tf.Tensor {
  const along = axis < 0 ? axis + x.rank : axis;
  const length = x.shape[along] ?? 0;
  // webgl reverses tensors of four axes at most.
  const inner = tf.util.sizeFromShape(x.shape.slice(along + 1));
  const flat = (tensor: tf.Tensor): tf.Tensor => {
    const threeAxes = tf.reshape(tensor, [-1, length, inner]);
    return reverse ? tf.reverse(threeAxes, 1) : threeAxes;
  };
  const factors = flat(x);
  const before = tf.cumprod(factors, 1, true);
  const next = later(factors, 1);
  const suffixSums = foldBack(exclusive ? later(flat(dy), 1) : flat(dy), next);
  const dx = tf.mul(before, suffixSums);
  return tf.reshape(reverse ? tf.reverse(dx, 1) : dx, x.shape);
}

/** `r[k] = b[k] + a[k]·r[k + 1]` along the second axis, in log₂(length) steps. */
function foldBack(b: tf.Tensor, a: tf.Tensor): tf.Tensor {
  const length = b.shape[1] ?? 0;
  for (let step = 1; step < length; step *= 2) {
    // Composes two of the maps r → b + a·r.
    [b, a] = [tf.add(b, tf.mul(a, later(b, step))), tf.mul(a, later(a, step))];
  }
  return b;
}

/** Shifts entries of `[outer, length, inner]` by `step` along the second axis, with zeros beyond the end. */
function later(x: tf.Tensor, step: number): tf.Tensor {
  const shift = Math.min(step, x.shape[1] ?? 0);
  return padOrCrop(x, [-shift, shift]);
}
