import type * as tf from '@tensorflow/tfjs';
import {type Program, runProgram} from '../../../kernels/webgpu/program';
import {each, REDUCE} from './reduce';

/** Whether a target is the number of a class. */
const CLASS =
  'fn isClass(given: f32, width: i32) -> bool { return given >= 0.0 && given < f32(width) && given == floor(given); }';

/** The largest logit of a row, and the sum of the exponentials relative to it. */
const SUM = `let o = group * u.width; let given = f32(t[group]); let target_ = i32(given); var m = x[o];
${each('j', 'u.width', 'm = max(m, x[o + j]);')}
let top = largest(m, lane); var s = 0.0;
${each('j', 'u.width', 's += exp(x[o + j] - top);')}
let all = total(s, lane); let known = isClass(given, u.width);`;

/** The loss of each row, or 0 if the row does not count. */
const ROWS: Program = {
  name: 'crossEntropyRows',
  reads: ['x', 't'],
  writes: ['losses'],
  integers: ['width', 'ignored'],
  head: REDUCE + CLASS,
  body: `${SUM}
if (lane == 0) {
  if (given == f32(u.ignored)) { losses[group] = 0.0; }
  else if (known) { losses[group] = log(all) + top - x[o + target_]; }
  else { losses[group] = u.nan; }
}`,
};

/** How many rows count. */
const COUNT =
  `var c = 0.0; ${each('j', 'u.rows', 'c += select(1.0, 0.0, f32(t[j]) == f32(u.ignored));')} let counted = ` +
  'total(c, lane);';

/** How many rows count and have no class for a target. */
const FOREIGN = `var f = 0.0;
${each('j', 'u.rows', 'f += select(1.0, 0.0, f32(t[j]) == f32(u.ignored) || isClass(f32(t[j]), u.width));')}
let foreign = total(f, lane);`;

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
  head: REDUCE + CLASS,
  body: `${SUM} ${COUNT} ${FOREIGN}
let share = select(dy[0] / max(counted, 1.0), 0.0, given == f32(u.ignored) || foreign > 0.0);
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
