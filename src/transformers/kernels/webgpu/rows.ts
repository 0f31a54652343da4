import type * as tf from '@tensorflow/tfjs';
import type {RowNormSettings, RowNormWeights} from '../transformer';
import {runProgram} from '../../../kernels/webgpu/program';
import {programOf} from '../../../kernels/webgpu/programOf';
import {each, REDUCE} from './reduce';

/** A row's mean and `1/√(σ² + ε)`; `number` is the code of one number of the row. */
function statistics(centered: boolean, number: string): string {
  const mean = centered ? `var s0 = 0.0; ${each('j', 'u.width', `s0 += ${number};`)} mean = total(s0, lane) / n;` : '';
  return `let o = group * u.width; let n = f32(u.width); var mean = 0.0; ${mean}
var s1 = 0.0; ${each('j', 'u.width', `let d = ${number} - mean; s1 += d * d;`)}
let inverse = 1.0 / sqrt(total(s1, lane) / n + u.epsilon);`;
}

/** The inputs, numbers and declarations that all programs of rows share. */
const OF_ROWS = {integers: ['width'], floats: ['epsilon'], head: REDUCE};

export function normalizeRows(
  x: tf.Tensor,
  residual: tf.Tensor | null,
  {gamma, beta}: RowNormWeights,
  {centered, epsilon}: RowNormSettings,
): tf.Tensor[] {
  const adds = residual !== null;
  const program = programOf(['normalize', centered, adds, beta !== null].join(), () => {
    const number = adds ? '(x[o + j] + r[o + j])' : 'x[o + j]';
    const result = `(v - mean) * inverse * gamma[j]${beta === null ? '' : ' + beta[j]'}`;
    return {
      ...OF_ROWS,
      reads: ['x', ...(adds ? ['r'] : []), 'gamma', ...(beta ? ['beta'] : [])],
      writes: ['y', ...(adds ? ['sum'] : [])],
      body: `${statistics(centered, number)}
${each('j', 'u.width', `let v = ${number}; y[o + j] = ${result};${adds ? ' sum[o + j] = v;' : ''}`)}`,
    };
  });
  const inputs = [x, ...(residual ? [residual] : []), gamma, ...(beta ? [beta] : [])];
  return runProgram(program, {
    inputs,
    outputs: adds ? [x.shape, x.shape] : [x.shape],
    numbers: [gamma.size, epsilon],
    rows: x.size / gamma.size,
  });
}

/** `(g − mean(g) − x̂·mean(g·x̂)) / √(σ² + ε)` with `g = γ·dy`; without `mean(g)` where rows are not centered. */
export function normalizeRowsGradient(
  x: tf.Tensor,
  gamma: tf.Tensor,
  dy: tf.Tensor,
  {centered, epsilon}: RowNormSettings,
): tf.Tensor {
  const program = programOf(['normalizeGradient', centered].join(), () => ({
    ...OF_ROWS,
    reads: ['x', 'gamma', 'dy'],
    writes: ['dx'],
    body: `${statistics(centered, 'x[o + j]')}
var s2 = 0.0; var s3 = 0.0;
${each('j', 'u.width', 'let g = gamma[j] * dy[o + j]; s2 += g; s3 += g * (x[o + j] - mean) * inverse;')}
let along = total(s3, lane) / n; let level = ${centered ? 'total(s2, lane) / n' : '0.0'};
${each('j', 'u.width', 'dx[o + j] = (gamma[j] * dy[o + j] - level - (x[o + j] - mean) * inverse * along) * inverse;')}`,
  }));
  const [dx] = runProgram(program, {
    inputs: [x, gamma, dy],
    outputs: [x.shape],
    numbers: [gamma.size, epsilon],
    rows: x.size / gamma.size,
  });
  return dx as tf.Tensor;
}
