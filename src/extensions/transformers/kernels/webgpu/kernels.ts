import type * as tf from '@tensorflow/tfjs';
import {type Program, programOf, runProgram, runsPrograms} from '../../../../backends/webgpu/program';
import {ERF, GATES, SIGMOID} from '../gateCode';
import type {GateKind, RotationSettings, RowNormSettings, RowNormWeights, TransformerKernels} from '../transformer';
import {attend, attendGradient} from './attention';
import {each, REDUCE} from './reduce';

const FUNCTIONS = `fn sigmoid(z: f32) -> f32 { return ${SIGMOID}; }
fn erf(z: f32) -> f32 { let t = ${ERF.t}; let p = ${ERF.p}; return ${ERF.erf}; }`;

function gateProgram(kind: GateKind, gated: boolean, back: boolean): Program {
  return programOf(['gate', kind, gated, back].join(), () => {
    const {c, f} = GATES[kind];
    const up = gated ? 'let up = in_up[i];' : '';
    const forward = `y[i] = x * c${gated ? ' * up' : ''};`;
    const backward = `let g = dy[i]; dx[i] = g * f${gated ? ' * up; du[i] = g * x * c' : ''};`;
    return {
      reads: ['in_x', ...(gated ? ['in_up'] : []), ...(back ? ['dy'] : [])],
      writes: back ? ['dx', ...(gated ? ['du'] : [])] : ['y'],
      head: FUNCTIONS,
      body: `let x = in_x[i]; ${up} let c = ${c}; let f = ${f}; ${back ? backward : forward}`,
    };
  });
}

const ROTATE: Program = {
  name: 'rotate',
  reads: ['x', 'cosines', 'sines'],
  writes: ['y'],
  integers: ['positions', 'heads', 'rotatedHeads', 'length', 'pairs', 'interleaved'],
  floats: ['sense'],
  body: `let k = i % u.length; let head = (i / u.length) % u.heads; let position = (i / (u.length * u.heads)) % u.positions;
if (k >= 2 * u.pairs || head >= u.rotatedHeads) { y[i] = x[i]; return; }
let apart = u.interleaved == 1; let j = select(k % u.pairs, k / 2, apart); let first = select(k < u.pairs, k % 2 == 0, apart);
let step = select(u.pairs, 1, apart); let a = position * u.pairs + j; let s = sines[a] * u.sense;
y[i] = x[i] * cosines[a] + select(x[max(i - step, 0)] * s, -x[i + step] * s, first);`,
};

/** The operations of transformers as programs, where these run. */
export function webgpuTransformer(): TransformerKernels | undefined {
  return runsPrograms() ? KERNELS : undefined;
}

const KERNELS: TransformerKernels = {
  rotatesSomeHeads: true,
  attention: attend,
  attentionGradient: attendGradient,
  crossEntropy,
  crossEntropyGradient,
  gate: (x, up, kind) => {
    const inputs = up ? [x, up] : [x];
    const [y] = runProgram(gateProgram(kind, up !== null, false), {inputs, outputs: [x.shape], numbers: []});
    return y as tf.Tensor;
  },
  gateGradient: (x, up, dy, kind) => {
    const inputs = up ? [x, up, dy] : [x, dy];
    const outputs = up ? [x.shape, x.shape] : [x.shape];
    return runProgram(gateProgram(kind, up !== null, true), {inputs, outputs, numbers: []});
  },
  normalizeRows,
  normalizeRowsGradient,
  rotate,
};

function rotate(
  x: tf.Tensor3D,
  {cosines, sines}: {cosines: tf.Tensor; sines: tf.Tensor},
  {heads, rotatedHeads = heads, interleaved, back}: RotationSettings & {back: boolean},
): tf.Tensor {
  const width = x.shape[2];
  const [positions, half = 0] = cosines.shape;
  const numbers = [positions, heads, rotatedHeads, width / heads, half, interleaved ? 1 : 0, back ? -1 : 1];
  const [y] = runProgram(ROTATE, {inputs: [x, cosines, sines], outputs: [x.shape], numbers});
  return y as tf.Tensor;
}

/** Whether a target is a class index. */
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

/** How many rows count but have no class as target. */
const WRONG_TARGETS = `var w = 0.0;
${each('j', 'u.rows', 'w += select(1.0, 0.0, f32(t[j]) == f32(u.ignored) || isClass(f32(t[j]), u.width));')}
let wrong = total(w, lane);`;

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
  body: `${SUM} ${COUNT} ${WRONG_TARGETS}
let share = select(dy[0] / max(counted, 1.0), 0.0, given == f32(u.ignored) || wrong > 0.0);
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

/** A row's mean and `1/√(σ² + ε)`; `number` is the code of one value of the row. */
function statistics(centered: boolean, number: string): string {
  const mean = centered ? `var s0 = 0.0; ${each('j', 'u.width', `s0 += ${number};`)} mean = total(s0, lane) / n;` : '';
  return `let o = group * u.width; let n = f32(u.width); var mean = 0.0; ${mean}
var s1 = 0.0; ${each('j', 'u.width', `let d = ${number} - mean; s1 += d * d;`)}
let inverse = 1.0 / sqrt(total(s1, lane) / n + u.epsilon);`;
}

/** The inputs, values and declarations that all programs of rows share. */
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
