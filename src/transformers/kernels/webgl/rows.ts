import * as tf from '@tensorflow/tfjs';
import type {RowNormSettings, RowNormWeights} from '../transformer';
import {type MatrixProgram, runMatrixProgram} from '../../../kernels/webgl/matrixProgram';

/** A row's mean, and `1/√(σ² + ε)`. */
const STATISTICS = `float mean = 0.0;
if (centered == 1) { for (int j = 0; j < width; j++) { mean += x(row, j); } mean /= float(width); }
if (col == 0) return mean;
float s1 = 0.0; for (int j = 0; j < width; j++) { float d = x(row, j) - mean; s1 += d * d; }
float inverse = inversesqrt(s1 / float(width) + epsilon);
if (col == 1) return inverse;`;

const OF_ROWS: MatrixProgram = {
  reads: ['x'],
  integers: ['centered', 'width'],
  floats: ['epsilon'],
  value: `${STATISTICS} return 0.0;`,
};

/** The same two numbers, then the means of `g` and of `g·x̂`, with `g = γ·dy`. */
const OF_GRADIENTS: MatrixProgram = {
  ...OF_ROWS,
  reads: ['x', 'gamma', 'dy'],
  value: `${STATISTICS} float s2 = 0.0;
for (int j = 0; j < width; j++) { float g = gamma(0, j) * dy(row, j); s2 += col == 2 ? g : g * (x(row, j) - mean) * inverse; }
return s2 / float(width);`,
};

const NORMAL: MatrixProgram = {
  reads: ['x', 'known', 'gamma'],
  value: 'return (x(row, col) - known(row, 0)) * known(row, 1) * gamma(0, col);',
};
const SHIFTED: MatrixProgram = {
  reads: [...NORMAL.reads, 'beta'],
  value: 'return (x(row, col) - known(row, 0)) * known(row, 1) * gamma(0, col) + beta(0, col);',
};
const BACK: MatrixProgram = {
  reads: ['x', 'known', 'gamma', 'dy'],
  integers: ['centered'],
  value: `float level = centered == 1 ? known(row, 2) : 0.0; float normal = (x(row, col) - known(row, 0)) * known(row, 1);
return (gamma(0, col) * dy(row, col) - level - normal * known(row, 3)) * known(row, 1);`,
};

export function normalizeRows(
  x: tf.Tensor,
  residual: tf.Tensor | null,
  {gamma, beta}: RowNormWeights,
  {centered, epsilon}: RowNormSettings,
): tf.Tensor[] {
  const rows = residual === null ? x : tf.add(x, residual);
  const {size: width} = gamma;
  const known = runMatrixProgram(OF_ROWS, {
    inputs: [rows],
    shape: [rows.size / width, 2],
    numbers: [centered ? 1 : 0, width, epsilon],
  });
  const inputs = [rows, known, gamma, ...(beta ? [beta] : [])];
  const y = runMatrixProgram(beta ? SHIFTED : NORMAL, {inputs, shape: rows.shape});
  known.dispose();
  return residual === null ? [y] : [y, rows];
}

export function normalizeRowsGradient(
  x: tf.Tensor,
  gamma: tf.Tensor,
  dy: tf.Tensor,
  {centered, epsilon}: RowNormSettings,
): tf.Tensor {
  const {size: width} = gamma;
  const numbers = [centered ? 1 : 0, width, epsilon];
  const known = runMatrixProgram(OF_GRADIENTS, {inputs: [x, gamma, dy], shape: [x.size / width, 4], numbers});
  const dx = runMatrixProgram(BACK, {inputs: [x, known, gamma, dy], shape: x.shape, numbers: numbers.slice(0, 1)});
  known.dispose();
  return dx;
}
