import * as tf from '@tensorflow/tfjs';
import {runLazyOp} from './lazyOp';

/** The statistics and weights of a batch normalization, each `[c]`. */
export interface BatchNormWeights {
  mean: tf.Tensor;
  variance: tf.Tensor;
  /** `null` where the layer has `scale: false`. */
  gamma: tf.Tensor | null;
  /** `null` where the layer has `center: false`. */
  beta: tf.Tensor | null;
  epsilon: number;
}

/**
 * Normalization by fixed statistics, `γ·(x − μ)/√(σ² + ε) + β` along `axis`, differentiable in `x` alone: its gradient is
 * `dy·γ/√(σ² + ε)`, for which nothing need be kept.
 *
 * With `exact`, the result is that of stock inference, bit for bit. Without, it is computed as `x·m + t`, which is several times
 * faster on wasm and may differ in the last bits.
 */
export function frozenBatchNorm(x: tf.Tensor, weights: BatchNormWeights, axis: number, exact: boolean): tf.Tensor {
  const onAxis = (w: tf.Tensor) => alongAxis(w, axis, x.rank);
  return runLazyOp({
    inputs: {x},
    save: {x: false, y: false},
    forward: () => {
      const {mean, variance, gamma, beta, epsilon} = weights;
      if (exact) {
        const offset = beta === null ? undefined : onAxis(beta);
        const scale = gamma === null ? undefined : onAxis(gamma);
        return tf.batchNorm(x, onAxis(mean), onAxis(variance), offset, scale, epsilon);
      }
      const m = multiplier(weights);
      const shift = tf.neg(tf.mul(mean, m));
      return tf.add(tf.mul(x, onAxis(m)), onAxis(beta === null ? shift : tf.add(beta, shift)));
    },
    gradient: dy => ({x: () => tf.mul(dy, onAxis(multiplier(weights)))}),
  });
}

/** `γ/√(σ² + ε)`. */
function multiplier({variance, gamma, epsilon}: BatchNormWeights): tf.Tensor {
  const inverse = tf.rsqrt(tf.add(variance, epsilon));
  return gamma === null ? inverse : tf.mul(gamma, inverse);
}

/** `[c]` in a shape that broadcasts along `axis` of a tensor of `rank` axes. */
function alongAxis(w: tf.Tensor, axis: number, rank: number): tf.Tensor {
  if (axis === rank - 1) {
    return w;
  }
  const shape = new Array<number>(rank).fill(1);
  shape[axis] = w.size;
  return tf.reshape(w, shape);
}
