import * as tf from '@tensorflow/tfjs';
import {runLazyOp} from '../../platform/tfjs/lazyOp';

export interface RowSettings {
  /** Whether the mean is subtracted first. */
  centered: boolean;
  /** Added to the mean of squares. */
  epsilon: number;
}

/** The weights of a layer normalization along the last axis, `[c]` each. */
export interface LayerNormWeights {
  /** `null` where the layer has `scale: false`. */
  gamma: tf.Tensor | null;
  /** `null` where the layer has `center: false`. */
  beta: tf.Tensor | null;
  epsilon: number;
}

/**
 * Each row of `x` normalized by its own statistics, `y = γ·x̂ + β`, `x̂ = (x − μ)/√(σ² + ε)`, with a frozen `γ`;
 * differentiable in `x` and `β`.
 *
 * tfjs repeats the statistics along the row, and sums their gradient value by value, with a launch for each. Here they
 * are broadcast, and recomputed in the backward pass. The result may differ from the stock layer's in the last bits.
 * (Ba et al., "Layer Normalization", arXiv 1607.06450.)
 */
export function frozenLayerNorm(x: tf.Tensor, {gamma, beta, epsilon}: LayerNormWeights): tf.Tensor {
  const settings = {centered: true, epsilon};
  return runLazyOp({
    inputs: {x, ...(beta && {beta})},
    save: {x: true},
    forward: () => normalizedRows(x, {gamma, beta}, settings),
    gradient: (dy, saved) => ({
      x: () => normalizedRowsGradient(saved.x, gamma, dy, settings),
      beta: () => tf.sum(tf.reshape(dy, [-1, x.shape[x.rank - 1] as number]), 0),
    }),
  });
}

/** The rows with mean 0 and deviation 1, and their scale. */
export function rowStatistics(
  rows: tf.Tensor,
  {centered, epsilon}: RowSettings,
): {normalized: tf.Tensor; inverse: tf.Tensor} {
  const off = centered ? tf.sub(rows, tf.mean(rows, -1, true)) : rows;
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(off), -1, true), epsilon));
  return {normalized: tf.mul(off, inverse), inverse};
}

/** `γ·x̂ + β` of each row. */
export function normalizedRows(
  rows: tf.Tensor,
  {gamma, beta}: {gamma: tf.Tensor | null; beta: tf.Tensor | null},
  settings: RowSettings,
): tf.Tensor {
  const {normalized} = rowStatistics(rows, settings);
  const scaled = gamma === null ? normalized : tf.mul(normalized, gamma);
  return beta === null ? scaled : tf.add(scaled, beta);
}

/** The gradient in the rows: `(g − mean(g) − x̂·mean(g·x̂)) / √(σ² + ε)`, `g = γ·dy`; uncentered, without `mean(g)`. */
export function normalizedRowsGradient(
  rows: tf.Tensor,
  gamma: tf.Tensor | null,
  dy: tf.Tensor,
  settings: RowSettings,
): tf.Tensor {
  return tf.tidy(() => {
    const {normalized, inverse} = rowStatistics(rows, settings);
    const g = gamma === null ? dy : tf.mul(dy, gamma);
    const along = tf.mul(normalized, tf.mean(tf.mul(g, normalized), -1, true));
    const centered = settings.centered ? tf.sub(g, tf.mean(g, -1, true)) : g;
    return tf.mul(tf.sub(centered, along), inverse);
  });
}
