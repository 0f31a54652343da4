import * as tf from '@tensorflow/tfjs';
import {GROUP, type Program, programOf, runProgram, runsPrograms} from '../../../../backends/webgpu/program';
import {keepingNumbers} from '../../../../platform/tfjs/cardData';
import {type BlockMatrix, rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import {type Dialect, formatCode, numbersTogether} from '../formatCode';
import type {QuantizedKernels} from '../quantizedKernels';
import {areNumbers, areProducts, FACTORS, readTrial, ROWS, runsFormat, trialMatrix, WIDTH} from '../trial';

// Programs that unpack the blocks of a matrix as they compute, without ever holding all its values.

const WGSL: Dialect = {
  whole: 'i32',
  real: 'f32',
  define: (name, parameters, type, expression) =>
    `fn ${name}(${parameters.map(parameter => `${parameter}: i32`).join(', ')}) -> ${type} { return ${expression}; }`,
  primitives: `fn bits(v: i32, shift: i32, mask: i32) -> i32 { return (v >> u32(shift)) & mask; }
fn byteAt(offset: i32) -> i32 { return bits(packed[offset / 4], 8 * (offset % 4), 255); }
fn real(v: i32) -> f32 { return f32(v); }
fn fromBits(v: i32) -> f32 { return bitcast<f32>(v); }`,
};

/** Declares the values of the matrix in `packed`. */
function numbersOf(format: BlockFormat): string {
  return formatCode(format, WGSL, 'u.stride');
}

const TILE = 32;
const DEEP = 16;
/** Up to this many rows are multiplied without a tile. */
const FEW = 4;
/** The rows of the matrix that a workgroup then computes with, and the lanes for each. */
const EACH = 8;

/** Code for the values `w` of the matrix from `row` and `column` on that share a factor; `t` counts them. */
function eachTogether(format: BlockFormat, isInside: string, use: string): string {
  return `let p = blockOf(row, column); let first = indexOf(column); let factor = factorAt(p, first); let shift = shiftAt(p, first);
for (var t = 0; t < ${numbersTogether(format)}; t++) {
  var w = 0.0; if (${isInside}) { w = factor * real(wholeAt(p, first + t)) + shift; } ${use}
}`;
}

/** `x·Wᵀ`, or `x·W` where `back`. A workgroup computes a tile, a lane 4 × 4 of its values, and unpacks as it goes. */
function tiles(format: BlockFormat, back: boolean): Program {
  const together = numbersTogether(format);
  // Of a row of the matrix a tile meets so many pieces.
  const pieces = (back ? TILE : DEEP) / together;
  const unpack = back
    ? eachTogether(format, 'row < u.inner && column + t < u.columns', `ws[line * ${TILE} + start + t] = w;`)
    : eachTogether(format, 'row < u.columns && column + t < u.inner', `ws[(start + t) * ${TILE} + line] = w;`);
  return programOf(['blockTiles', format.name, back].join(), () => ({
    reads: ['x', 'packed'],
    writes: ['y'],
    integers: ['stride', 'rows', 'inner', 'columns'],
    head: `var<workgroup> xs: array<f32, ${TILE * DEEP}>; var<workgroup> ws: array<f32, ${TILE * DEEP}>;
${numbersOf(format)}`,
    body: `let across = (u.columns + ${TILE - 1}) / ${TILE}; let top = (group / across) * ${TILE}; let left = (group % across) * ${TILE};
let cx = (lane % 8) * 4; let ry = (lane / 8) * 4; var acc: array<vec4f, 4>;
for (var at = 0; at < u.inner; at += ${DEEP}) {
  for (var e = lane; e < ${TILE * DEEP}; e += ${GROUP}) {
    let k = e % ${DEEP}; let j = e / ${DEEP}; var v = 0.0;
    if (at + k < u.inner && top + j < u.rows) { v = x[(top + j) * u.inner + at + k]; }
    xs[k * ${TILE} + j] = v;
  }
  for (var e = lane; e < ${(TILE * DEEP) / together}; e += ${GROUP}) {
    let line = e / ${pieces}; let start = (e % ${pieces}) * ${together};
    let row = ${back ? 'at' : 'left'} + line; let column = ${back ? 'left' : 'at'} + start;
    ${unpack}
  }
  workgroupBarrier();
  for (var k = 0; k < ${DEEP}; k++) {
    let o = k * ${TILE}; let v = vec4f(ws[o + cx], ws[o + cx + 1], ws[o + cx + 2], ws[o + cx + 3]);
    for (var i = 0; i < 4; i++) { acc[i] += xs[o + ry + i] * v; }
  }
  workgroupBarrier();
}
for (var i = 0; i < 4; i++) { for (var j = 0; j < 4; j++) {
  let row = top + ry + i; let column = left + cx + j;
  if (row < u.rows && column < u.columns) { y[row * u.columns + column] = acc[i][j]; }
} }`,
  }));
}

/** `x·Wᵀ` for few rows. A workgroup computes with eight rows of the matrix, eight lanes for each. */
function fewRows(format: BlockFormat): Program {
  const together = numbersTogether(format);
  const use = 'for (var r = 0; r < u.rows; r++) { sums[r] += x[r * u.inner + min(column + t, u.inner - 1)] * w; }';
  return programOf(['blockRows', format.name].join(), () => ({
    reads: ['x', 'packed'],
    writes: ['y'],
    integers: ['stride', 'rows', 'inner', 'columns'],
    head: `var<workgroup> parts: array<f32, ${FEW * GROUP}>; ${numbersOf(format)}`,
    body: `let row = group * ${EACH} + lane / ${EACH}; var sums: array<f32, ${FEW}>;
if (row < u.columns) { for (var column = (lane % ${EACH}) * ${together}; column < u.inner; column += ${EACH * together}) {
  ${eachTogether(format, 'column + t < u.inner', use)}
} }
for (var r = 0; r < u.rows; r++) { parts[r * ${GROUP} + lane] = sums[r]; }
workgroupBarrier();
let own = group * ${EACH} + lane % ${EACH}; let r = lane / ${EACH};
if (r < u.rows && own < u.columns) {
  var sum = 0.0; for (var k = 0; k < ${EACH}; k++) { sum += parts[r * ${GROUP} + (lane % ${EACH}) * ${EACH} + k]; }
  y[r * u.columns + own] = sum;
}`,
  }));
}

/** Rows by index; zeros for invalid indices. */
function lookUpProgram(format: BlockFormat): Program {
  return programOf(['blockLookUp', format.name].join(), () => ({
    reads: ['numbers', 'packed'],
    writes: ['y'],
    integers: ['stride', 'count', 'width'],
    head: numbersOf(format),
    body: `let row = i32(numbers[i / u.width]); var v = 0.0;
if (row >= 0 && row < u.count) { v = numberAt(row, i % u.width); } y[i] = v;`,
  }));
}

function run(
  program: Program,
  [x, blocks]: readonly [tf.Tensor, tf.Tensor],
  shape: [number, number],
  numbers: readonly number[],
  rows?: number,
): tf.Tensor2D {
  const call = {inputs: [x, blocks], outputs: [shape], numbers, ...(rows !== undefined && {rows})};
  // The CPU fallback and reading blocks need the data synchronously.
  const [y] = keepingNumbers(blocks, () => runProgram(program, call));
  return y as tf.Tensor2D;
}

function product(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix, back: boolean): tf.Tensor2D {
  const [rows, inner] = x.shape;
  const columns = back ? matrix.width : matrix.rows;
  const groups = Math.ceil(rows / TILE) * Math.ceil(columns / TILE);
  const numbers = [rowBytes(matrix), rows, inner, columns];
  return run(tiles(matrix.format, back), [x, blocks], [rows, columns], numbers, groups);
}

function productOfFew(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const [rows, inner] = x.shape;
  const numbers = [rowBytes(matrix), rows, inner, matrix.rows];
  return run(fewRows(matrix.format), [x, blocks], [rows, matrix.rows], numbers, Math.ceil(matrix.rows / EACH));
}

function lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const {format, rows, width} = matrix;
  return run(lookUpProgram(format), [numbers, blocks], [numbers.size, width], [rowBytes(matrix), rows, width]);
}

const KERNELS: QuantizedKernels = {
  runs: format => runsFormat(format, isRight),
  multiply: (x, blocks, matrix) =>
    x.shape[0] <= FEW ? productOfFew(x, blocks, matrix) : product(x, blocks, matrix, false),
  multiplyBack: (dz, blocks, matrix) => product(dz, blocks, matrix, true),
  lookUp,
};

/** The operations as programs, where these run. */
export function webgpuQuantized(): QuantizedKernels | undefined {
  return runsPrograms() ? KERNELS : undefined;
}

async function isRight(format: BlockFormat): Promise<boolean> {
  const matrix = {format, rows: ROWS, width: WIDTH};
  const trial = trialMatrix(format);
  const [looked, products, more, back] = await readTrial(trial, blocks => {
    const x = tf.tensor2d(FACTORS, [1, WIDTH]);
    const dz = tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0, 1], [ROWS, ROWS]);
    return [
      lookUp(tf.tensor1d([0, 1, 2], 'int32'), blocks, matrix),
      productOfFew(x, blocks, matrix),
      product(x, blocks, matrix, false),
      product(dz, blocks, matrix, true),
    ];
  });
  const {expected} = trial;
  return (
    [looked, back].every(numbers => areNumbers(numbers ?? [], expected, format)) &&
    [products, more].every(numbers => areProducts(numbers ?? [], expected))
  );
}
