import * as tf from '@tensorflow/tfjs';
import {GROUP, type Program, programOf, runProgram, runsPrograms} from '../../../../backends/webgpu/program';
import {ERF, GATES, SIGMOID} from '../gateCode';
import type {GateKind, RotationSettings, RowNormSettings, RowNormWeights, TransformerKernels} from '../transformer';
import {attend, attendGradient} from './attention';
import {laneLoop, REDUCE} from './reduce';

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

/** The activation of the first half of rows `u.width` times the second; its gradient in both if `back`. */
function halvesProgram(kind: GateKind, back: boolean): Program {
  return programOf(['gateHalves', kind, back].join(), () => {
    const {c, f} = GATES[kind];
    return {
      reads: ['in_x', ...(back ? ['dy'] : [])],
      writes: [back ? 'dx' : 'y'],
      integers: ['count', 'width'],
      head: FUNCTIONS,
      body: `let i = group * ${GROUP} + lane; if (i < u.count) {
  let o = i + (i / u.width) * u.width; let x = in_x[o]; let up = in_x[o + u.width];
  let c = ${c};
  let f = ${f};
  ${back ? 'let g = dy[i]; dx[o] = g * f * up; dx[o + u.width] = g * x * c;' : 'y[i] = x * c * up;'}
}`,
    };
  });
}

function halves(x: tf.Tensor, kind: GateKind, dy?: tf.Tensor): tf.Tensor {
  const width = (x.shape.at(-1) as number) / 2;
  const [result] = runProgram(halvesProgram(kind, dy !== undefined), {
    inputs: [x, ...(dy ? [dy] : [])],
    outputs: [dy ? x.shape : [...x.shape.slice(0, -1), width]],
    numbers: [x.size / 2, width],
    rows: Math.ceil(x.size / 2 / GROUP),
  });
  return result as tf.Tensor;
}

const ROTATE: Program = {
  name: 'rotate',
  reads: ['x', 'cosines', 'sines'],
  writes: ['y'],
  integers: ['positions', 'heads', 'rotatedHeads', 'length', 'pairs', 'interleaved'],
  floats: ['direction'],
  body: `let k = i % u.length; let head = (i / u.length) % u.heads;
  let position = (i / (u.length * u.heads)) % u.positions;
if (k >= 2 * u.pairs || head >= u.rotatedHeads) { y[i] = x[i]; return; }
let apart = u.interleaved == 1; let j = select(k % u.pairs, k / 2, apart);
let first = select(k < u.pairs, k % 2 == 0, apart);
let step = select(u.pairs, 1, apart); let a = position * u.pairs + j; let s = sines[a] * u.direction;
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
  gateHalves: (x, kind) => halves(x, kind),
  gateHalvesGradient: (x, dy, kind) => halves(x, kind, dy),
  largest,
  normalizeRows,
  normalizeRowsGradient,
  rotate,
  rotateAndAppend,
};

/** In each pass, lanes look for the best value after the last one: the largest, or the first of equal ones. */
const LARGEST: Program = {
  name: 'largest',
  reads: ['x'],
  writes: ['y'],
  integers: ['width', 'count'],
  head: `${REDUCE} var<workgroup> values: array<f32, ${GROUP}>; var<workgroup> places: array<i32, ${GROUP}>;
fn isBetter(v: f32, at: i32, w: f32, other: i32) -> bool {
  return at >= 0 && (other < 0 || v > w || (v == w && at < other));
}
fn isWrong(v: f32) -> bool {
  let bits = bitcast<u32>(v); return (bits & 0x7f800000u) == 0x7f800000u && bits != 0xff800000u;
}`,
  body: `let o = group * u.width; let out = group * (2 * u.count + 1); var w = 0.0;
${laneLoop('j', 'u.width', 'w += select(0.0, 1.0, isWrong(x[o + j]));')}
let wrong = total(w, lane); var last = 0.0; var lastAt = -1;
for (var n = 0; n < u.count; n++) {
  var v = 0.0; var at = -1;
  ${laneLoop(
    'j',
    'u.width',
    `let z = x[o + j];
    let isAfterLast = lastAt < 0 || z < last || (z == last && j > lastAt);
    if (isAfterLast && isBetter(z, j, v, at)) { v = z; at = j; }`,
  )}
  values[lane] = v; places[lane] = at;
  workgroupBarrier();
  for (var s = ${GROUP / 2}; s > 0; s /= 2) {
    if (lane < s && isBetter(values[lane + s], places[lane + s], values[lane], places[lane])) {
      values[lane] = values[lane + s]; places[lane] = places[lane + s];
    }
    workgroupBarrier();
  }
  last = values[0]; lastAt = places[0];
  workgroupBarrier();
  if (lane == 0) { y[out + n] = last; y[out + u.count + n] = f32(lastAt); y[out + 2 * u.count] = wrong; }
}`,
};

function largest(x: tf.Tensor2D, count: number): tf.Tensor2D {
  const [rows, width] = x.shape;
  const outputs = [[rows, 2 * count + 1]];
  return runProgram(LARGEST, {inputs: [x], outputs, numbers: [width, count], rows})[0] as tf.Tensor2D;
}

/** Queries, keys and values of packed ones, after `had` cached positions, of which `before` are kept. */
function appendProgram(hasPast: boolean): Program {
  const cached = `let o = j - u.before + u.had; if (o >= 0) {
    let p = (b * u.had + o) * u.widthK + c; if (isV) { s = past_v[p]; } else { s = past_k[p]; } }`;
  return programOf(['rotateAndAppend', hasPast].join(), () => ({
    reads: ['x', 'cosines', 'sines', ...(hasPast ? ['past_k', 'past_v'] : [])],
    writes: ['q', 'k', 'v'],
    integers: [
      ...['batch', 'positions', 'widthQ', 'widthK', 'length', 'pairs', 'interleaved', 'angles', 'had', 'before'],
    ],
    head: `fn rotated(row: i32, c: i32) -> f32 {
  let o = row * (u.widthQ + 2 * u.widthK) + c; let k = c % u.length; if (k >= 2 * u.pairs) { return x[o]; }
  let apart = u.interleaved == 1; let j = select(k % u.pairs, k / 2, apart);
  let first = select(k < u.pairs, k % 2 == 0, apart);
  let step = select(u.pairs, 1, apart); let a = (row % u.angles) * u.pairs + j;
  return x[o] * cosines[a] + select(x[max(o - step, 0)], -x[o + step], first) * sines[a];
}`,
    body: `var i = group * ${GROUP} + lane; let sizeQ = u.batch * u.positions * u.widthQ;
    let all = u.before + u.positions;
let sizeK = u.batch * all * u.widthK; if (i >= sizeQ + 2 * sizeK) { return; }
if (i < sizeQ) { q[i] = rotated(i / u.widthQ, i % u.widthQ); return; }
i -= sizeQ; let isV = i >= sizeK; i -= select(0, sizeK, isV); let c = i % u.widthK;
let j = (i / u.widthK) % all; let b = i / (u.widthK * all); var s = 0.0;
if (j >= u.before) {
  let row = b * u.positions + j - u.before;
  if (isV) {
    s = x[row * (u.widthQ + 2 * u.widthK) + u.widthQ + u.widthK + c];
  } else {
    s = rotated(row, u.widthQ + c);
  }
} ${hasPast ? `else { ${cached} }` : ''}
if (isV) { v[i] = s; } else { k[i] = s; }`,
  }));
}

function rotateAndAppend(
  ...[packed, {cosines, sines}, {cached, count}, settings]: Parameters<
    NonNullable<TransformerKernels['rotateAndAppend']>
  >
): [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D] {
  const {heads, keyValueHeads, interleaved} = settings;
  const [batch, positions, width] = packed.shape;
  const length = width / (heads + 2 * keyValueHeads);
  const [widthQ, widthK] = [heads * length, keyValueHeads * length];
  const [angles, pairs = 0] = cosines.shape;
  const had = cached?.[0].shape[1] ?? 0;
  const ofKeys = [batch, count + positions, widthK];
  const sizes = [batch * positions * widthQ, 2 * tf.util.sizeFromShape(ofKeys)] as const;
  return runProgram(appendProgram(cached !== undefined), {
    inputs: [packed, cosines, sines, ...(cached ?? [])],
    outputs: [[batch, positions, widthQ], ofKeys, ofKeys],
    numbers: [batch, positions, widthQ, widthK, length, pairs, interleaved ? 1 : 0, angles, had, count],
    rows: Math.ceil((sizes[0] + sizes[1]) / GROUP),
  }) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
}

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
${laneLoop('j', 'u.width', 'm = max(m, x[o + j]);')}
let top = largest(m, lane); var s = 0.0;
${laneLoop('j', 'u.width', 's += exp(x[o + j] - top);')}
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

const COUNT = `var c = 0.0;
${laneLoop('j', 'u.rows', 'c += select(1.0, 0.0, f32(t[j]) == f32(u.ignored));')}
let counted = total(c, lane);`;

const WRONG_TARGETS = `var w = 0.0;
${laneLoop('j', 'u.rows', 'w += select(1.0, 0.0, f32(t[j]) == f32(u.ignored) || isClass(f32(t[j]), u.width));')}
let wrong = total(w, lane);`;

const MEAN: Program = {
  name: 'crossEntropyMean',
  reads: ['losses', 't'],
  writes: ['mean'],
  integers: ['rows', 'ignored'],
  head: REDUCE,
  body: `${COUNT} var s = 0.0; ${laneLoop('j', 'u.rows', 's += losses[j];')} let all = total(s, lane);
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
${laneLoop('j', 'u.width', 'dx[o + j] = share * (exp(x[o + j] - top) / all - select(0.0, 1.0, j == target_ && known));')}`,
};

function rowSizes(logits: tf.Tensor): {width: number; rows: number} {
  const width = logits.shape.at(-1) ?? 1;
  return {width, rows: logits.size / width};
}

export function crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor {
  const {width, rows} = rowSizes(logits);
  const [losses] = runProgram(ROWS, {inputs: [logits, targets], outputs: [[rows]], numbers: [width, ignored], rows});
  const inputs = [losses as tf.Tensor, targets];
  const [mean] = runProgram(MEAN, {inputs, outputs: [[]], numbers: [rows, ignored], rows: 1});
  losses?.dispose();
  return mean as tf.Tensor;
}

export function crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor {
  const {width, rows} = rowSizes(logits);
  const numbers = [width, ignored, rows];
  const [dx] = runProgram(GRADIENT, {inputs: [logits, targets, dy], outputs: [logits.shape], numbers, rows});
  return dx as tf.Tensor;
}

/** A row's mean and `1/√(σ² + ε)`; `number` is the code of one value of the row. */
function statistics(centered: boolean, number: string): string {
  const mean = centered
    ? `var s0 = 0.0; ${laneLoop('j', 'u.width', `s0 += ${number};`)} mean = total(s0, lane) / n;`
    : '';
  return `let o = group * u.width; let n = f32(u.width); var mean = 0.0; ${mean}
var s1 = 0.0; ${laneLoop('j', 'u.width', `let d = ${number} - mean; s1 += d * d;`)}
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
${laneLoop('j', 'u.width', `let v = ${number}; y[o + j] = ${result};${adds ? ' sum[o + j] = v;' : ''}`)}`,
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
${laneLoop('j', 'u.width', 'let g = gamma[j] * dy[o + j]; s2 += g; s3 += g * (x[o + j] - mean) * inverse;')}
let along = total(s3, lane) / n; let level = ${centered ? 'total(s2, lane) / n' : '0.0'};
${laneLoop('j', 'u.width', 'dx[o + j] = (gamma[j] * dy[o + j] - level - (x[o + j] - mean) * inverse * along) * inverse;')}`,
  }));
  const [dx] = runProgram(program, {
    inputs: [x, gamma, dy],
    outputs: [x.shape],
    numbers: [gamma.size, epsilon],
    rows: x.size / gamma.size,
  });
  return dx as tf.Tensor;
}
