import type * as tf from '@tensorflow/tfjs';
import {type Program, runProgram} from '../../../kernels/webgpu/program';
import {each, REDUCE} from './reduce';

/** The largest logit of a row, and the sum of the exponentials relative to it. */
const SUM = `let o = group * u.width; let target_ = t[group]; var m = x[o];
${each('j', 'u.width', 'm = max(m, x[o + j]);')}
let top = largest(m, lane); var s = 0.0;
${each('j', 'u.width', 's += exp(x[o + j] - top);')}
let all = total(s, lane); let known = target_ >= 0 && target_ < u.width;`;

/** The loss of each row, or 0 if the row does not count. */
const ROWS: Program = {
  name: 'crossEntropyRows',
  reads: ['x', 't'],
  writes: ['losses'],
  integers: ['width', 'ignored'],
  head: REDUCE,
  body: `${SUM}
if (lane == 0) {
  if (target_ == u.ignored) { losses[group] = 0.0; }
  else if (known) { losses[group] = log(all) + top - x[o + target_]; }
  else { losses[group] = u.nan; }
}`,
};

/** How many rows count. */
const COUNT = `var c = 0.0; ${each('j', 'u.rows', 'c += select(1.0, 0.0, t[j] == u.ignored);')} let counted = total(c, lane);`;

const MEAN: Program = {
  name: 'crossEntropyMean',
  reads: ['losses', 't'],
  writes: ['mean'],
  integers: ['rows', 'ignored'],
  head: REDUCE,
  body: `${COUNT} var s = 0.0; ${each('j', 'u.rows', 's += losses[j];')} let all = total(s, lane);
if (lane == 0) { mean[0] = select(0.0, all / max(counted, 1.0), counted > 0.0); }`,
};

const GRADIENT: Program = {
  name: 'crossEntropyGradient',
  reads: ['x', 't', 'dy'],
  writes: ['dx'],
  integers: ['width', 'ignored', 'rows'],
  head: REDUCE,
  body: `${SUM} ${COUNT}
let share = select(dy[0] / max(counted, 1.0), 0.0, target_ == u.ignored);
${each('j', 'u.width', 'dx[o + j] = share * (exp(x[o + j] - top) / all - select(0.0, 1.0, j == target_ && known));')}`,
};

function sizesOf(logits: tf.Tensor): {width: number; rows: number} {
  const width = logits.shape.at(-1) ?? 1;
  return {width, rows: logits.size / width};
}

export function crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor {
  const {width, rows} = sizesOf(logits);
  const [losses] = runProgram(ROWS, {inputs: [logits, targets], outputs: [[rows]], numbers: [width, ignored], rows});
  const inputs = [losses as tf.Tensor, targets];
  const [mean] = runProgram(MEAN, {inputs, outputs: [[]], numbers: [rows, ignored], rows: 1});
  losses?.dispose();
  return mean as tf.Tensor;
}

export function crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor {
  const {width, rows} = sizesOf(logits);
  const numbers = [width, ignored, rows];
  const [dx] = runProgram(GRADIENT, {inputs: [logits, targets, dy], outputs: [logits.shape], numbers, rows});
  return dx as tf.Tensor;
}
