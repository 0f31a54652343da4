import * as tf from '@tensorflow/tfjs';
import {type MatrixProgram, runMatrixProgram, runsMatrixPrograms} from '../../../../backends/webgl/matrixProgram';
import {ERF, GATES, SIGMOID} from '../gateCode';
import type {GateKind, RotationSettings, RowNormSettings, RowNormWeights, TransformerKernels} from '../transformer';
import {attend, attendGradient} from './attention';

const FUNCTIONS = `float sigmoid(float z) { return ${SIGMOID}; }
float erf(float z) { float t = ${ERF.t}; float p = ${ERF.p}; return ${ERF.erf}; }`;

/** A program for one result of an activation or of its gradient, from its expression in `x`, `c` and `f`. */
function gateProgram(kind: GateKind, reads: readonly string[], result: string): MatrixProgram {
  const {c, f} = GATES[kind];
  return {
    reads: ['in_x', ...reads],
    head: FUNCTIONS,
    value: `float x = in_x(row, col); float c = ${c}; float f = ${f}; return ${result};`,
  };
}

/** The activation of the first half of rows times the second half, and its gradient in both. */
function halvesProgram(kind: GateKind, back: boolean): MatrixProgram {
  const {c, f} = GATES[kind];
  const result = back
    ? 'dy(row, own) * (own == col ? f * in_x(row, col + width) : x * c)'
    : 'x * c * in_x(row, col + width)';
  return {
    reads: ['in_x', ...(back ? ['dy'] : [])],
    integers: ['width'],
    head: FUNCTIONS,
    value: `int own = col < width ? col : col - width; float x = in_x(row, own);
    float c = ${c};
    float f = ${f};
    return ${result};`,
  };
}

const ROTATION = {
  reads: ['x', 'cosines', 'sines'],
  integers: ['positions', 'rotatedHeads', 'size', 'pairs', 'interleaved'],
  floats: ['direction'],
  head: `float rotated(int row, int col) {
  int k = col % size; int position = row % positions;
  if (k >= 2 * pairs || col / size >= rotatedHeads) return x(row, col);
  bool apart = interleaved == 1; int j = apart ? k / 2 : k % pairs;
  bool first = apart ? k % 2 == 0 : k < pairs;
  int step = apart ? 1 : pairs; float s = sines(position, j) * direction;
  return x(row, col) * cosines(position, j) + (first ? -x(row, col + step) : x(row, col - step)) * s;
}`,
};

const ROTATE: MatrixProgram = {...ROTATION, value: 'return rotated(row, col);'};

/** Rows from the column `from` on, rotated, after `before` cached positions of each text, of which there are `had`. */
function appendProgram(hasPast: boolean): MatrixProgram {
  return {
    ...ROTATION,
    reads: [...ROTATION.reads, ...(hasPast ? ['past'] : [])],
    integers: [...ROTATION.integers, 'count', 'from', 'before', 'had'],
    value: `int all = before + count; int b = row / all; int j = row - b * all; int o = j - before + had;
if (j >= before) return rotated(b * count + j - before, from + col);
return ${hasPast ? 'o < 0 ? 0.0 : past(b * had + o, col)' : '0.0'};`,
  };
}

/** The operations of transformers as programs, where these run. */
export function webglTransformer(): TransformerKernels | undefined {
  return runsMatrixPrograms() ? (tf.env().getBool('WEBGL_RENDER_FLOAT32_ENABLED') ? KERNELS : HALF) : undefined;
}

/** Frees intermediate tensors. */
function tidied<Args extends unknown[], Result extends tf.Tensor>(
  compute: (...args: Args) => Result,
): (...args: Args) => Result {
  return (...args) => tf.tidy(() => compute(...args));
}

const KERNELS: TransformerKernels = {
  rotatesSomeHeads: true,
  attention: attend,
  attentionGradient: attendGradient,
  crossEntropy: tidied(crossEntropy),
  crossEntropyGradient: tidied(crossEntropyGradient),
  gate: (x, up, kind) => {
    const program = up ? gateProgram(kind, ['up'], 'x * c * up(row, col)') : gateProgram(kind, [], 'x * c');
    return runMatrixProgram(program, {inputs: up ? [x, up] : [x], shape: x.shape});
  },
  gateGradient: (x, up, dy, kind) => {
    const back = (result: string, reads: string[], extraInputs: tf.Tensor[]) =>
      runMatrixProgram(gateProgram(kind, reads, result), {inputs: [x, ...extraInputs], shape: x.shape});
    return up
      ? [back('dy(row, col) * f * up(row, col)', ['dy', 'up'], [dy, up]), back('dy(row, col) * x * c', ['dy'], [dy])]
      : [back('dy(row, col) * f', ['dy'], [dy])];
  },
  gateHalves: (x, kind) => {
    const width = (x.shape.at(-1) as number) / 2;
    const shape = [...x.shape.slice(0, -1), width];
    return runMatrixProgram(halvesProgram(kind, false), {inputs: [x], shape, numbers: [width]});
  },
  largest: tidied(largest),
  gateHalvesGradient: (x, dy, kind) =>
    runMatrixProgram(halvesProgram(kind, true), {
      inputs: [x, dy],
      shape: x.shape,
      numbers: [dy.shape.at(-1) as number],
    }),
  normalizeRows,
  normalizeRowsGradient,
  rotate,
  rotateAndAppend,
};

/** A row is searched in parts of this many values. */
const PART = 256;

/** The largest value of each part of a row, then how many of its values are NaN or infinitely large. */
const BEST: MatrixProgram = {
  reads: ['x'],
  integers: ['width', 'parts'],
  value: `int begin = (col < parts ? col : col - parts) * ${PART}; int end = min(begin + ${PART}, width);
float best = x(row, begin); float wrong = 0.0;
for (int j = begin; j < end; j++) {
  float v = x(row, j); best = max(best, v); wrong += isnan(v) || v > 3.4028234e38 ? 1.0 : 0.0;
}
return col < parts ? best : wrong;`,
};

/** The parts with the largest values in falling order, the first of equal ones; then how many values are wrong. */
const CHOSEN: MatrixProgram = {
  reads: ['best'],
  integers: ['parts', 'count'],
  value: `if (col == count) {
    float wrong = 0.0;
    for (int j = 0; j < parts; j++) { wrong += best(row, parts + j); }
    return wrong;
  }
float last = 0.0; int lastAt = -1;
for (int n = 0; n <= col; n++) {
  float v = 0.0; int at = -1;
  for (int j = 0; j < parts; j++) {
    float z = best(row, j);
    if ((lastAt < 0 || z < last || (z == last && j > lastAt)) && (at < 0 || z > v)) { v = z; at = j; }
  }
  last = v; lastAt = at;
}
return float(lastAt);`,
};

/** The values of the chosen parts, where they are, and how many are wrong. */
const CANDIDATES: MatrixProgram = {
  reads: ['x', 'chosen'],
  integers: ['width', 'count'],
  value: `int n = count * ${PART}; if (col == 2 * n) return chosen(row, count);
int i = col < n ? col : col - n; int at = int(chosen(row, i / ${PART})) * ${PART} + i % ${PART};
if (at < 0 || at >= width) return -1.0;
return col < n ? x(row, at) : float(at);`,
};

function largest(x: tf.Tensor2D, wanted: number): tf.Tensor2D {
  const [rows, width] = x.shape;
  const parts = Math.ceil(width / PART);
  const count = Math.min(wanted, parts);
  const best = runMatrixProgram(BEST, {inputs: [x], shape: [rows, 2 * parts], numbers: [width, parts]});
  const chosen = runMatrixProgram(CHOSEN, {inputs: [best], shape: [rows, count + 1], numbers: [parts, count]});
  const shape = [rows, 2 * count * PART + 1];
  return runMatrixProgram(CANDIDATES, {inputs: [x, chosen], shape, numbers: [width, count]}) as tf.Tensor2D;
}

/** Those of devices with half precision, which cannot hold a large token. */
const {largest: _, ...HALF} = KERNELS;

function rotateAndAppend(
  ...[packed, {cosines, sines}, {cached, count: before}, settings]: Parameters<
    NonNullable<TransformerKernels['rotateAndAppend']>
  >
): [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D] {
  const {heads, keyValueHeads, interleaved} = settings;
  const [batch, count, width] = packed.shape;
  const size = width / (heads + 2 * keyValueHeads);
  const [positions, half = 0] = cosines.shape;
  const numbers = [positions, heads + keyValueHeads, size, half, interleaved ? 1 : 0, count];
  const rotatedHeads = (first: number, ofHeads: number, past?: tf.Tensor3D, pastLength = 0) =>
    runMatrixProgram(appendProgram(past !== undefined), {
      inputs: [packed, cosines, sines, ...(past ? [past] : [])],
      shape: [batch, pastLength + count, ofHeads * size],
      numbers: [...numbers, first * size, pastLength, past?.shape[1] ?? 0, 1],
    }) as tf.Tensor3D;
  return [
    rotatedHeads(0, heads),
    rotatedHeads(heads, keyValueHeads, cached?.[0], before),
    rotatedHeads(heads + keyValueHeads, keyValueHeads, cached?.[1], before),
  ];
}

function rotate(
  x: tf.Tensor3D,
  {cosines, sines}: {cosines: tf.Tensor; sines: tf.Tensor},
  {heads, rotatedHeads = heads, interleaved, back}: RotationSettings & {back: boolean},
): tf.Tensor {
  const width = x.shape[2];
  const [positions, half = 0] = cosines.shape;
  const numbers = [positions, rotatedHeads, width / heads, half, interleaved ? 1 : 0, back ? -1 : 1];
  return runMatrixProgram(ROTATE, {inputs: [x, cosines, sines], shape: x.shape, numbers});
}

/** For each row, the largest logit, and the sum of the exponentials relative to it. */
const SUMS: MatrixProgram = {
  reads: ['x'],
  integers: ['width'],
  value: `float top = x(row, 0); for (int j = 1; j < width; j++) { top = max(top, x(row, j)); }
if (col == 0) return top;
float s = 0.0; for (int j = 0; j < width; j++) { s += exp(x(row, j) - top); } return s;`,
};

/** How many rows count, and the mean of their losses; −1 and NaN if a target is no class. */
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
function softmaxStatistics(logits: tf.Tensor, targets: tf.Tensor, ignored: number): {sums: tf.Tensor; mean: tf.Tensor} {
  const width = logits.shape.at(-1) ?? 1;
  const rows = logits.size / width;
  const sums = runMatrixProgram(SUMS, {inputs: [logits], shape: [rows, 2], numbers: [width]});
  const inputs = [logits, sums, targets.reshape([rows, 1])];
  return {sums, mean: runMatrixProgram(MEAN, {inputs, shape: [1, 2], numbers: [rows, width, ignored]})};
}

export function crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor {
  const {mean} = softmaxStatistics(logits, targets, ignored);
  return mean.flatten().gather(1);
}

export function crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor {
  const {sums, mean} = softmaxStatistics(logits, targets, ignored);
  const inputs = [logits, sums, targets.reshape([-1, 1]), mean, dy];
  return runMatrixProgram(GRADIENT, {inputs, shape: logits.shape, numbers: [ignored]});
}

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

/** The same two values, then the means of `g` and of `g·x̂`, with `g = γ·dy`. */
const OF_GRADIENTS: MatrixProgram = {
  ...OF_ROWS,
  reads: ['x', 'gamma', 'dy'],
  value: `${STATISTICS} float s2 = 0.0;
for (int j = 0; j < width; j++) {
  float g = gamma(0, j) * dy(row, j); s2 += col == 2 ? g : g * (x(row, j) - mean) * inverse;
}
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
  value: `float level = centered == 1 ? known(row, 2) : 0.0;
  float normal = (x(row, col) - known(row, 0)) * known(row, 1);
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
  const rowStatistics = runMatrixProgram(OF_ROWS, {
    inputs: [rows],
    shape: [rows.size / width, 2],
    numbers: [centered ? 1 : 0, width, epsilon],
  });
  const inputs = [rows, rowStatistics, gamma, ...(beta ? [beta] : [])];
  const y = runMatrixProgram(beta ? SHIFTED : NORMAL, {inputs, shape: rows.shape});
  rowStatistics.dispose();
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
  const gradientStatistics = runMatrixProgram(OF_GRADIENTS, {
    inputs: [x, gamma, dy],
    shape: [x.size / width, 4],
    numbers,
  });
  const dx = runMatrixProgram(BACK, {
    inputs: [x, gradientStatistics, gamma, dy],
    shape: x.shape,
    numbers: numbers.slice(0, 1),
  });
  gradientStatistics.dispose();
  return dx;
}
