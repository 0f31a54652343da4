import type * as tf from '@tensorflow/tfjs';
import {type MatrixProgram, runMatrixProgram} from '../../../kernels/webgl/matrixProgram';

/** For each row, the largest logit, and the sum of the exponentials relative to it. */
const SUMS: MatrixProgram = {
  reads: ['x'],
  integers: ['width'],
  value: `float top = x(row, 0); for (int j = 1; j < width; j++) { top = max(top, x(row, j)); }
if (col == 0) return top;
float s = 0.0; for (int j = 0; j < width; j++) { s += exp(x(row, j) - top); } return s;`,
};

/** How many rows count, and the mean of their losses; −1 and NaN if the target of one is no class. */
const MEAN: MatrixProgram = {
  reads: ['x', 'sums', 't'],
  integers: ['rows', 'width', 'ignored'],
  value: `float counted = 0.0; float s = 0.0;
for (int j = 0; j < rows; j++) {
  float target = t(j, 0);
  if (target == float(ignored)) continue;
  counted += 1.0;
  bool known = target >= 0.0 && target < float(width) && target == floor(target);
  if (!known) { return col == 0 ? -1.0 : NAN; }
  if (col == 1) { s += log(sums(j, 1)) + sums(j, 0) - x(j, int(target)); }
}
return col == 0 ? counted : (counted > 0.0 ? s / counted : 0.0);`,
};

const GRADIENT: MatrixProgram = {
  reads: ['x', 'sums', 't', 'mean', 'dy'],
  integers: ['ignored'],
  value: `int target = int(t(row, 0)); if (target == ignored || mean(0, 0) < 0.0) return 0.0;
return dy(0, 0) / mean(0, 0) * (exp(x(row, col) - sums(row, 0)) / sums(row, 1) - (target == col ? 1.0 : 0.0));`,
};

/** The sums of the rows, and the mean with the number of rows that count. */
function known(logits: tf.Tensor, targets: tf.Tensor, ignored: number): {sums: tf.Tensor; mean: tf.Tensor} {
  const width = logits.shape.at(-1) ?? 1;
  const rows = logits.size / width;
  const sums = runMatrixProgram(SUMS, {inputs: [logits], shape: [rows, 2], numbers: [width]});
  const inputs = [logits, sums, targets.reshape([rows, 1])];
  return {sums, mean: runMatrixProgram(MEAN, {inputs, shape: [1, 2], numbers: [rows, width, ignored]})};
}

export function crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor {
  const {mean} = known(logits, targets, ignored);
  return mean.flatten().gather(1);
}

export function crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor {
  const {sums, mean} = known(logits, targets, ignored);
  const inputs = [logits, sums, targets.reshape([-1, 1]), mean, dy];
  return runMatrixProgram(GRADIENT, {inputs, shape: logits.shape, numbers: [ignored]});
}
