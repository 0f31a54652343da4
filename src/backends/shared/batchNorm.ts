import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from './registration';

/** The inputs of `FusedBatchNorm`. */
export interface NormalizationInputs<T> extends Record<'x' | 'mean' | 'variance', T> {
  readonly offset?: T | null;
  readonly scale?: T | null;
}

/**
 * `FusedBatchNorm` along another axis than the last. The cpu and the wasm backend take the statistics one after the
 * other, whatever the axis, and so normalize channels-first images by the wrong ones. Along the last axis the backend's
 * own kernel runs. Values and statistics of another dtype, which wasm reads as floats, are converted.
 */
export const batchNormKernel: OwnKernel = {
  name: tf.FusedBatchNorm,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: call => {
        const {x, mean, variance, offset, scale} = call.inputs as unknown as NormalizationInputs<tf.Tensor>;
        if (x.dtype !== 'float32') {
          return tf.tidy(() => {
            const y = tf.engine().runKernel(tf.FusedBatchNorm, {...call.inputs, x: tf.cast(x, 'float32')}, call.attrs);
            return tf.cast(y as tf.Tensor, x.dtype);
          });
        }
        const vectors = {mean, variance, offset, scale};
        if (Object.values(vectors).some(vector => vector != null && vector.dtype !== 'float32')) {
          return tf.tidy(() => {
            const floats = Object.entries(vectors).flatMap(([name, vector]) =>
              vector == null ? [] : [[name, tf.cast(vector, 'float32')] as const],
            );
            return tf.engine().runKernel(tf.FusedBatchNorm, {x, ...Object.fromEntries(floats)}, call.attrs);
          });
        }
        if (mean.size === mean.shape[mean.shape.length - 1]) {
          return stock.kernelFunc(call);
        }
        const {varianceEpsilon = 0.001} = call.attrs as unknown as {varianceEpsilon?: number};
        return tf.tidy(() => {
          const inverse = tf.rsqrt(tf.add(variance, varianceEpsilon));
          const y = tf.mul(tf.sub(x, mean), scale ? tf.mul(scale, inverse) : inverse);
          return offset ? tf.add(y, offset) : y;
        });
      },
    },
};
