import * as tf from '@tensorflow/tfjs';
import type {RowNormSettings} from '../backends/transformer';
import {isRecording, runLazyOp} from './lazyOp';
import {transformerKernels} from './transformerKernels';

/** The weights of a normalization along the last axis, `[width]` each. */
export interface RowNormWeights {
  gamma: tf.Tensor;
  /** `null` where nothing is added. */
  beta: tf.Tensor | null;
}

/**
 * The rows of `x`, or of `x + residual`, normalized: `γ·(x − μ)/√(σ² + ε) + β`, or, not centered, `γ·x/√(mean of x² + ε)`.
 *
 * Differentiable in all of it. Kept are the rows before the normalization alone; their statistics are computed again.
 */
export function normalizeRows(
  x: tf.Tensor,
  residual: tf.Tensor | null,
  {gamma, beta}: RowNormWeights,
  settings: RowNormSettings,
): tf.Tensor {
  const keepsSum = residual !== null && isRecording();
  const outputs = runLazyOp({
    inputs: {x, kernel: gamma, ...(beta && {beta}), ...(residual && {residual})},
    save: {x: residual === null, kernel: true, y: false, h: keepsSum},
    forward: () => {
      const [y, sum] =
        transformerKernels()?.normalizeRows(x, residual, {gamma, beta}, settings) ??
        composed(residual === null ? x : tf.add(x, residual), residual !== null, {gamma, beta}, settings);
      return [y as tf.Tensor, ...(keepsSum ? [sum as tf.Tensor] : [])];
    },
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const rows = saved.h ?? saved.x;
      const kernels = transformerKernels();
      let dx: tf.Tensor | undefined;
      const ofRows = () => {
        // The tape adds to a gradient that it is given, and disposes it: each input has one of its own, of the same numbers.
        if (dx !== undefined) {
          return tf.clone(dx);
        }
        dx =
          kernels?.normalizeRowsGradient(rows, saved.kernel, dy, settings) ??
          composedGradient(rows, saved.kernel, dy, settings);
        return dx;
      };
      const flat = (z: tf.Tensor) => tf.reshape(z, [-1, gamma.size]);
      return {
        x: ofRows,
        residual: ofRows,
        kernel: () =>
          kernels?.normalizeRowsWeights(rows, dy, settings) ??
          tf.sum(flat(tf.mul(dy, statisticsOf(rows, settings).normalized)), 0),
        beta: () => tf.sum(flat(dy), 0),
      };
    },
  });
  const [y, ...others] = [outputs].flat() as [tf.Tensor, ...tf.Tensor[]];
  others.forEach(other => other.dispose());
  return y;
}

/** The rows without their mean and of deviation 1, and what they were multiplied with. */
function statisticsOf(
  rows: tf.Tensor,
  {centered, epsilon}: RowNormSettings,
): {normalized: tf.Tensor; inverse: tf.Tensor} {
  const off = centered ? tf.sub(rows, tf.mean(rows, -1, true)) : rows;
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(off), -1, true), epsilon));
  return {normalized: tf.mul(off, inverse), inverse};
}

function composed(
  rows: tf.Tensor,
  givesRows: boolean,
  {gamma, beta}: RowNormWeights,
  settings: RowNormSettings,
): tf.Tensor[] {
  const scaled = tf.mul(statisticsOf(rows, settings).normalized, gamma);
  const y = beta === null ? scaled : tf.add(scaled, beta);
  return [y, ...(givesRows ? [rows] : [])];
}

function composedGradient(rows: tf.Tensor, gamma: tf.Tensor, dy: tf.Tensor, settings: RowNormSettings): tf.Tensor {
  return tf.tidy(() => {
    const {normalized, inverse} = statisticsOf(rows, settings);
    const g = tf.mul(dy, gamma);
    const along = tf.mul(normalized, tf.mean(tf.mul(g, normalized), -1, true));
    const rest = settings.centered ? tf.sub(g, tf.mean(g, -1, true)) : g;
    return tf.mul(tf.sub(rest, along), inverse);
  });
}
