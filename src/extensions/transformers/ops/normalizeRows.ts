import * as tf from '@tensorflow/tfjs';
import {type RowNormSettings, type RowNormWeights, transformerKernels} from '../kernels/transformer';
import {normalizedRows, normalizedRowsGradient, rowStatistics} from '../../../core/ops/layerNorm';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';
import {isRecording} from '../../../platform/tfjs/engine';

/**
 * Normalizes the rows of `x`, or of `x + residual`: `γ·(x − μ)/√(σ² + ε) + β`, or, if not centered, `γ·x/√(mean of x² +
 * ε)`.
 *
 * Differentiable in all inputs. Only the rows before the normalization are kept; the backward pass computes their
 * statistics again.
 */
export function normalizeRows(
  x: tf.Tensor,
  residual: tf.Tensor | null,
  {gamma, beta}: RowNormWeights,
  settings: RowNormSettings,
): tf.Tensor {
  const keepsSum = residual !== null && isRecording();
  const outputs = runLazyOp({
    inputs: {x, gamma, ...(beta && {beta}), ...(residual && {residual})},
    save: {x: residual === null, gamma: true, sum: keepsSum},
    forward: () => {
      const [y, sum] =
        transformerKernels()?.normalizeRows(x, residual, {gamma, beta}, settings) ??
        composed(residual === null ? x : tf.add(x, residual), residual !== null, {gamma, beta}, settings);
      return [y as tf.Tensor, ...(keepsSum ? [sum as tf.Tensor] : [])];
    },
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const rows = keepsSum ? saved.sum : saved.x;
      const kernels = transformerKernels();
      let dx: tf.Tensor | undefined;
      const ofRows = () => {
        // The tape adds to the gradients that it gets, and disposes of them, so each input needs a separate tensor.
        if (dx !== undefined) {
          return tf.clone(dx);
        }
        dx =
          kernels?.normalizeRowsGradient(rows, saved.gamma, dy, settings) ??
          normalizedRowsGradient(rows, saved.gamma, dy, settings);
        return dx;
      };
      const flat = (z: tf.Tensor) => tf.reshape(z, [-1, gamma.size]);
      return {
        x: ofRows,
        residual: ofRows,
        gamma: () =>
          kernels?.normalizeRowsWeights?.(rows, dy, settings) ??
          tf.sum(flat(tf.mul(dy, rowStatistics(rows, settings).normalized)), 0),
        beta: () => tf.sum(flat(dy), 0),
      };
    },
  });
  const [y, ...statistics] = [outputs].flat() as [tf.Tensor, ...tf.Tensor[]];
  statistics.forEach(other => other.dispose());
  return y;
}

function composed(
  rows: tf.Tensor,
  givesRows: boolean,
  weights: RowNormWeights,
  settings: RowNormSettings,
): tf.Tensor[] {
  return [normalizedRows(rows, weights, settings), ...(givesRows ? [rows] : [])];
}
