import * as tf from '@tensorflow/tfjs';
import {capabilities, oneLaunch} from '../../backends/shared/capabilities';
import {normalizeChain} from './convolutionChain';
import {throughEpilogue} from './epilogueGradients';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import type {Prepared} from '../../platform/tfjs/prepared';

/** The statistics and weights of a batch normalization, each `[c]`. */
export interface BatchNormWeights {
  mean: tf.Tensor;
  variance: tf.Tensor;
  /** `null` if the layer has `scale: false`. */
  gamma: tf.Tensor | null;
  /** `null` if the layer has `center: false`. */
  beta: tf.Tensor | null;
  epsilon: number;
}

/**
 * Normalization by fixed statistics, `γ·(x − μ)/√(σ² + ε) + β` along `axis`, differentiable in `x` and `β`: the
 * gradients are `dy·γ/√(σ² + ε)` and the sums of `dy`, so nothing has to be kept.
 *
 * With `exact`, the result is that of stock inference, bit for bit. Without, it is computed as `x·m + t`, which is
 * several times faster on wasm and may differ in the last bits.
 */
export function frozenBatchNorm(
  x: tf.Tensor,
  weights: BatchNormWeights,
  {axis, exact, prepared}: {axis: number; exact: boolean; prepared: Prepared},
): tf.Tensor {
  const isLast = axis === x.rank - 1;
  let isChained = false;
  const onAxis = (w: tf.Tensor) => alongAxis(w, axis, x.rank);
  return runLazyOp({
    inputs: {x, ...(weights.beta && {beta: weights.beta})},
    save: {},
    forward: () => {
      if (exact || capabilities().launchesOperations === true) {
        const {mean, variance, gamma, beta, epsilon} = weights;
        const offset = beta === null ? undefined : onAxis(beta);
        const scale = gamma === null ? undefined : onAxis(gamma);
        return tf.batchNorm(x, onAxis(mean), onAxis(variance), offset, scale, epsilon);
      }
      const [m, t] = affine(weights, prepared);
      const chained = isLast ? normalizeChain(prepared, x, {m, t}) : undefined;
      if (chained !== undefined) {
        isChained = true;
        return chained;
      }
      return isLast ? scaleAndShift(x, m, t) : tf.add(tf.mul(x, onAxis(m)), onAxis(t));
    },
    gradient: dy => ({
      x: () => {
        const [m] = affine(weights, prepared);
        const pending = isChained ? throughEpilogue(dy, {m}) : undefined;
        return pending ?? (isLast ? scaleAndShift(dy, m) : tf.mul(dy, onAxis(m)));
      },
      beta: () =>
        tf.sum(
          dy,
          x.shape.map((_, i) => i).filter(i => i !== axis),
        ),
    }),
  });
}

/** The normalization as `x·m + t`: `m = γ/√(σ² + ε)`, `t = β − μ·m`. */
function affine({mean, variance, gamma, beta, epsilon}: BatchNormWeights, prepared: Prepared): [tf.Tensor, tf.Tensor] {
  const sources = [mean, variance, gamma, beta].filter(weight => weight !== null);
  return prepared.get(sources, () => {
    const inverse = tf.rsqrt(tf.add(variance, epsilon));
    const m = gamma === null ? inverse : tf.mul(gamma, inverse);
    const shift = tf.neg(tf.mul(mean, m));
    return [m, beta === null ? shift : tf.add(beta, shift)];
  });
}

/** `x·m + t`, or `x·m`, with `m` and `t` along the last axis. */
function scaleAndShift(x: tf.Tensor, m: tf.Tensor, t?: tf.Tensor): tf.Tensor {
  return oneLaunch()?.affine?.(x, m, t) ?? (t === undefined ? tf.mul(x, m) : tf.add(tf.mul(x, m), t));
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
