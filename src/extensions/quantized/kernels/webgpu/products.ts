import * as tf from '@tensorflow/tfjs';
import {GROUP, type Program, programOf, runProgram} from '../../../../backends/webgpu/program';
import {rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import {type Dialect, formatCode, numbersTogether} from '../formatCode';
import {type AdaptedMatrix, factorsOf, type JointProducts} from '../quantizedKernels';
import {isLarge, MAX_BUFFERS, runWith} from './largeMatrix';

// Concatenated products with quantized matrices, `[x·W₀ᵀ + s₀·(x·A₀)·B₀, x·W₁ᵀ + …]`, and their gradients. The programs
// unpack blocks as they compute, without ever holding all values. All matrices have the same format and width.

const TILE = 32;
const DEEP = 16;
/** Up to this many rows are multiplied without a tile. */
const FEW = 4;
/** The rows of the matrix that a workgroup then computes with, and the lanes for each. */
const EACH = 8;
/** The columns whose gradients of the factors a workgroup sums. */
const COLUMNS = GROUP / 8;

/** Reads `packed0`, or the matrix that `part` says. */
function dialect(count: number): Dialect {
  const laterParts = numbered(count).slice(1);
  const cases = laterParts.map(i => `case ${i}: { return packed${i}[i]; }`).join(' ');
  const other = count === 1 ? '' : `switch (part) { ${cases} default: {} }`;
  return {
    integer: 'i32',
    real: 'f32',
    define: (name, parameters, type, expression) =>
      `fn ${name}(${parameters.map(parameter => `${parameter}: i32`).join()}) -> ${type} { return ${expression}; }`,
    primitives: `var<private> part: i32; fn word(i: i32) -> i32 { ${other} return packed0[i]; }
fn bits(v: i32, shift: i32, mask: i32) -> i32 { return (v >> u32(shift)) & mask; }
fn byteAt(offset: i32) -> i32 { return bits(word(offset / 4), 8 * (offset % 4), 255); }
fn real(v: i32) -> f32 { return f32(v); }
fn fromBits(v: i32) -> f32 { return bitcast<f32>(v); }`,
  };
}

/** Declares the values of matrices in `packed0`, `packed1`, … */
export function numbersOf(format: BlockFormat, count = 1): string {
  return formatCode(format, dialect(count), 'u.stride');
}

/** What the code of a program depends on. */
interface Variant {
  readonly format: BlockFormat;
  /** The rank of each part's factors; 0 for none. */
  readonly ranks: readonly number[];
  readonly adds: boolean;
}

function nameOf(name: string, {format, ranks, adds}: Variant): string {
  return [name, format.name, ranks.join(':'), adds].join();
}

function numbered(count: number): number[] {
  return Array.from({length: count}, (_, i) => i);
}

/** The parts with factors, and where their columns begin among those of all factors. */
function updated(ranks: readonly number[]): {i: number; rank: number; from: number}[] {
  let from = 0;
  return ranks.flatMap((rank, i) => {
    const operand = {i, rank, from};
    from += rank;
    return rank === 0 ? [] : [operand];
  });
}

/** Names of inputs: the matrices, and the factors `name` with the columns `h` of all factors. */
function readsOf({ranks, adds}: Variant, name: 'a' | 'b'): string[] {
  const factors = updated(ranks).map(({i}) => `${name}${i}`);
  return [
    ...numbered(ranks.length).map(i => `packed${i}`),
    ...(factors.length > 0 ? ['h', ...factors] : []),
    ...(adds ? ['added'] : []),
  ];
}

/** Names of settings. `across` is the total width of all parts. */
function settingsOf({ranks}: Variant): {integers: string[]; floats: string[]} {
  return {
    integers: ['stride', 'rows', 'inner', 'across', ...numbered(ranks.length).map(i => `columns${i}`)],
    floats: updated(ranks).map(({i}) => `scale${i}`),
  };
}

/**
 * Code that finds the part of a workgroup whose index is `tile` among those of a row, each of which computes `size`
 * columns: its index `which`, its first column `start` in the result, and its `width`.
 */
function findPart(count: number, size: number): string {
  const steps = numbered(count - 1).map(
    i => `if (which == ${i} && tile >= (u.columns${i} + ${size - 1}) / ${size}) {
  tile -= (u.columns${i} + ${size - 1}) / ${size}; start += u.columns${i};
  which = ${i + 1}; width = u.columns${i + 1};
}`,
  );
  return `var which = 0; var start = 0; var width = u.columns0; ${steps.join('\n')} part = which;`;
}

/** The workgroups for a row of the result. */
function tilesOf(count: number, size: number): string {
  return numbered(count)
    .map(i => `(u.columns${i} + ${size - 1}) / ${size}`)
    .join(' + ');
}

/** Adds to `s`, at `row` and `column` of the part `which`, its update and what else is added. */
function update({ranks, adds}: Variant): string {
  const all = ranks.reduce((sum, rank) => sum + rank, 0);
  const steps = updated(ranks).map(
    ({i, rank, from}) => `if (which == ${i}) { var z = 0.0; for (var r = 0; r < ${rank}; r++) {
  z += h[row * ${all} + ${from} + r] * b${i}[r * width + column]; } s += u.scale${i} * z; }`,
  );
  return `${steps.join('\n')} ${adds ? 's += added[row * u.across + start + column];' : ''}`;
}

/** Code for the values `w` of the matrix from `row` and `column` on that share a factor; `t` counts them. */
function eachTogether(format: BlockFormat, isInside: string, use: string): string {
  return `let p = blockOf(row, column); let first = indexOf(column); let factor = factorAt(p, first);
let shift = shiftAt(p, first);
for (var t = 0; t < ${numbersTogether(format)}; t++) {
  var w = 0.0; if (${isInside}) { w = factor * real(quantAt(p, first + t)) + shift; } ${use}
}`;
}

/** A step of a tile: reads 16 columns of `x` from `source` on, and as many rows or columns of the matrix. */
function tileStep(format: BlockFormat, back: boolean, source: string): string {
  const together = numbersTogether(format);
  // The number of pieces of a row that a tile reads.
  const pieces = (back ? TILE : DEEP) / together;
  const unpack = back
    ? eachTogether(format, 'row < width && column + t < u.inner', `wTile[line * ${TILE} + first_ + t] = w;`)
    : eachTogether(format, 'row < width && column + t < u.inner', `wTile[(first_ + t) * ${TILE} + line] = w;`);
  return `for (var e = lane; e < ${TILE * DEEP}; e += ${GROUP}) {
  let k = e % ${DEEP}; let j = e / ${DEEP}; var v = 0.0;
  if (at + k < ${back ? 'width' : 'u.inner'} && top + j < u.rows) { v = ${source}; }
  xTile[k * ${TILE} + j] = v;
}
for (var e = lane; e < ${(TILE * DEEP) / together}; e += ${GROUP}) {
  let line = e / ${pieces}; let first_ = (e % ${pieces}) * ${together};
  let row = ${back ? 'at' : 'left'} + line; let column = ${back ? 'left' : 'at'} + first_;
  ${unpack}
}
workgroupBarrier();
for (var k = 0; k < ${DEEP}; k++) {
  let o = k * ${TILE}; let c = o + firstColumn;
  let v = vec4f(wTile[c], wTile[c + 1], wTile[c + 2], wTile[c + 3]);
  for (var i = 0; i < 4; i++) { acc[i] += xTile[o + firstRow + i] * v; }
}
workgroupBarrier();`;
}

const TILES = `var<workgroup> xTile: array<f32, ${TILE * DEEP}>; var<workgroup> wTile: array<f32, ${TILE * DEEP}>;`;
const PLACE = `let firstColumn = (lane % 8) * 4; let firstRow = (lane / 8) * 4; var acc: array<vec4f, 4>;`;

/** The products. A workgroup computes a tile, a lane 4 × 4 of its values. */
function tiles(variant: Variant): Program {
  const {format, ranks} = variant;
  const {length} = ranks;
  return programOf(nameOf('blockTiles', variant), () => ({
    reads: ['x', ...readsOf(variant, 'b')],
    writes: ['y'],
    ...settingsOf(variant),
    head: `${TILES} ${numbersOf(format, length)}`,
    body: `let wide = ${tilesOf(length, TILE)}; let top = (group / wide) * ${TILE}; var tile = group % wide;
${findPart(length, TILE)} let left = tile * ${TILE}; ${PLACE}
for (var at = 0; at < u.inner; at += ${DEEP}) {
  ${tileStep(format, false, 'x[(top + j) * u.inner + at + k]')}
}
for (var i = 0; i < 4; i++) { for (var j = 0; j < 4; j++) {
  let row = top + firstRow + i; let column = left + firstColumn + j;
  if (row < u.rows && column < width) {
    var s = acc[i][j]; ${update(variant)} y[row * u.across + start + column] = s;
  }
} }`,
  }));
}

/** The gradient in the input, the sum over all parts. `h` has `x·A` of all factors and then `s·dy·Bᵀ`. */
function tilesBack(variant: Variant): Program {
  const {format, ranks} = variant;
  const all = ranks.reduce((sum, rank) => sum + rank, 0);
  const steps = updated(ranks).map(
    ({i, rank, from}) => `for (var r = 0; r < ${rank}; r++) {
  s += h[row * ${2 * all} + ${all + from} + r] * a${i}[column * ${rank} + r]; }`,
  );
  const widths = numbered(ranks.length).map(i => `case ${i}: { width = u.columns${i}; }`);
  return programOf(nameOf('blockTilesBack', variant), () => ({
    reads: ['x', ...readsOf(variant, 'a')],
    writes: ['y'],
    ...settingsOf(variant),
    head: `${TILES} ${numbersOf(format, ranks.length)}`,
    body: `let wide = (u.inner + ${TILE - 1}) / ${TILE}; let top = (group / wide) * ${TILE};
let left = (group % wide) * ${TILE}; ${PLACE} var start = 0;
for (var which = 0; which < ${ranks.length}; which++) {
  part = which; var width = 0; switch (which) { ${widths.join(' ')} default: {} }
  for (var at = 0; at < width; at += ${DEEP}) {
    ${tileStep(format, true, 'x[(top + j) * u.across + start + at + k]')}
  }
  start += width;
}
for (var i = 0; i < 4; i++) { for (var j = 0; j < 4; j++) {
  let row = top + firstRow + i; let column = left + firstColumn + j;
  if (row < u.rows && column < u.inner) {
    var s = acc[i][j]; ${steps.join('\n')} y[row * u.inner + column] = s;
  }
} }`,
  }));
}

/** The products of few rows. A workgroup computes with eight rows of a matrix, eight lanes for each. */
function fewRows(variant: Variant): Program {
  const {format, ranks} = variant;
  const together = numbersTogether(format);
  const use = 'for (var r = 0; r < u.rows; r++) { sums[r] += x[r * u.inner + min(column + t, u.inner - 1)] * w; }';
  return programOf(nameOf('blockRows', variant), () => ({
    reads: ['x', ...readsOf(variant, 'b')],
    writes: ['y'],
    ...settingsOf(variant),
    head: `var<workgroup> parts: array<f32, ${FEW * GROUP}>; ${numbersOf(format, ranks.length)}`,
    body: `var tile = group; ${findPart(ranks.length, EACH)} var sums: array<f32, ${FEW}>;
{ let row = tile * ${EACH} + lane / ${EACH};
if (row < width) {
  for (var column = (lane % ${EACH}) * ${together}; column < u.inner; column += ${EACH * together}) {
  ${eachTogether(format, 'column + t < u.inner', use)}
} } }
for (var r = 0; r < u.rows; r++) { parts[r * ${GROUP} + lane] = sums[r]; }
workgroupBarrier();
let column = tile * ${EACH} + lane % ${EACH}; let row = lane / ${EACH};
if (row < u.rows && column < width) {
  var s = 0.0; for (var k = 0; k < ${EACH}; k++) { s += parts[row * ${GROUP} + (lane % ${EACH}) * ${EACH} + k]; }
  ${update(variant)} y[row * u.across + start + column] = s;
}`,
  }));
}

/** `x·A` of all factors, and then `s·dy·Bᵀ` if `back`, in each row. */
function narrow({format, ranks}: Variant, back: boolean): Program {
  const all = ranks.reduce((sum, rank) => sum + rank, 0);
  const width = back ? 2 * all : all;
  const factors = updated(ranks);
  const ofA = factors.map(
    ({i, rank, from}) => `for (var r = 0; r < ${rank}; r++) { sums[${from} + r] += v * a${i}[k * ${rank} + r]; }`,
  );
  const starts = ranks.map((_, i) => ['0', ...numbered(i).map(j => `u.columns${j}`)].join(' + '));
  const ofB = factors.map(
    ({i, rank, from}) => `for (var j = lane; j < u.columns${i}; j += ${GROUP}) {
  let v = u.scale${i} * dy[group * u.across + ${starts[i]} + j];
  for (var r = 0; r < ${rank}; r++) { sums[${all + from} + r] += v * b${i}[r * u.columns${i} + j]; }
}`,
  );
  return programOf(nameOf(`blockNarrow,${back}`, {format, ranks, adds: false}), () => ({
    reads: ['x', ...factors.map(({i}) => `a${i}`), ...(back ? ['dy', ...factors.map(({i}) => `b${i}`)] : [])],
    writes: ['h'],
    ...settingsOf({format, ranks, adds: false}),
    head: `var<workgroup> parts: array<f32, ${GROUP * width}>;`,
    body: `var sums: array<f32, ${width}>;
for (var k = lane; k < u.inner; k += ${GROUP}) { let v = x[group * u.inner + k]; ${ofA.join('\n')} }
${back ? ofB.join('\n') : ''}
for (var r = 0; r < ${width}; r++) { parts[r * ${GROUP} + lane] = sums[r]; }
workgroupBarrier();
if (lane < ${width}) {
  var s = 0.0; for (var k = 0; k < ${GROUP}; k++) { s += parts[lane * ${GROUP} + k]; }
  h[group * ${width} + lane] = s;
}`,
  }));
}

/** The gradients of all factors, `xᵀ·dh` and `s·hᵀ·dy`: sums over the rows, by eight lanes for each column. */
function factorGradients({format, ranks}: Variant): Program {
  const all = ranks.reduce((sum, rank) => sum + rank, 0);
  const factors = updated(ranks);
  const starts = ranks.map((_, i) => ['0', ...numbered(i).map(j => `u.columns${j}`)].join(' + '));
  const sumUp = (count: number) => `for (var r = 0; r < ${count}; r++) {
    var s = 0.0; for (var k = 0; k < 8; k++) { s += parts[(k * ${COLUMNS} + lane) * ${all} + r]; } sums[r] = s;
  }`;
  const find = factors.map(({i}) => {
    const tiles = `(u.columns${i} + ${COLUMNS - 1}) / ${COLUMNS}`;
    return `if (which < 0 && tile < ${tiles}) {
  which = ${i}; width = u.columns${i}; start = ${starts[i]};
}
if (which < 0) { tile -= ${tiles}; }`;
  });
  /** Code for each rank, of the matrix that a workgroup belongs to. */
  const ofMatrix = (code: (factor: (typeof factors)[number]) => string) =>
    factors.map(factor => `if (which == ${factor.i}) { for (var r = 0; r < ${factor.rank}; r++) { ${code(factor)} } }`);
  const ofB = ofMatrix(({from}) => `sums[r] += v * h[row * ${2 * all} + ${from} + r];`);
  const toA = factors.map(
    ({i, rank, from}) => `for (var r = 0; r < ${rank}; r++) { da${i}[column * ${rank} + r] = sums[${from} + r]; }`,
  );
  const toB = ofMatrix(({i}) => `db${i}[r * width + column] = u.scale${i} * sums[r];`);
  return programOf(nameOf('blockFactors', {format, ranks, adds: false}), () => ({
    reads: ['x', 'dy', 'h'],
    writes: factors.flatMap(({i}) => [`da${i}`, `db${i}`]),
    ...settingsOf({format, ranks, adds: false}),
    head: `var<workgroup> parts: array<f32, ${GROUP * all}>;`,
    body: `let before = (u.inner + ${COLUMNS - 1}) / ${COLUMNS}; let ofA = group < before; var which = -1;
var start = 0; var width = u.inner;
var tile = select(group - before, group, ofA); if (!ofA) { ${find.join('\n')} }
let column = tile * ${COLUMNS} + lane % ${COLUMNS}; var sums: array<f32, ${all}>;
if (column < width) { for (var row = lane / ${COLUMNS}; row < u.rows; row += 8) {
  if (ofA) {
    let v = x[row * u.inner + column];
    for (var r = 0; r < ${all}; r++) { sums[r] += v * h[row * ${2 * all} + ${all} + r]; }
  }
  else { let v = dy[row * u.across + start + column]; ${ofB.join('\n')} }
} }
for (var r = 0; r < ${all}; r++) { parts[lane * ${all} + r] = sums[r]; }
workgroupBarrier();
if (lane < ${COLUMNS} && column < width) {
  ${sumUp(all)}
  if (ofA) { ${toA.join('\n')} }
  ${toB.join('\n')}
}`,
  }));
}

/** The sizes of products and the arguments that their programs have in common. */
function callOf(sizeOf: (inner: number, across: number) => number, parts: readonly AdaptedMatrix[], adds = false) {
  const [{matrix}] = parts as readonly [AdaptedMatrix];
  const {format, width: inner} = matrix;
  const {ranks, scales, as, bs} = factorsOf(parts);
  const columns = parts.map(({matrix: {rows}}) => rows);
  const across = columns.reduce((sum, count) => sum + count, 0);
  const rows = sizeOf(inner, across);
  const variant: Variant = {format, ranks, adds};
  const numbers = [rowBytes(matrix), rows, inner, across, ...columns, ...scales];
  return {variant, as, bs, columns, across, rows, inner, numbers, packed: parts.map(({blocks}) => blocks)};
}

const count = (length: number, size: number) => Math.ceil(length / size);
const sum = (counts: readonly number[]) => counts.reduce((all, size) => all + size, 0);

export const jointProducts: JointProducts = {
  takes: (x, parts, adds) => {
    const {ranks, as} = factorsOf(parts);
    const [{matrix}] = parts as readonly [AdaptedMatrix];
    const buffers = 2 + parts.length + (as.length > 0 ? 1 + as.length : 0) + (adds ? 1 : 0);
    return (
      x.size > 0 &&
      buffers <= MAX_BUFFERS &&
      3 + 2 * as.length <= MAX_BUFFERS &&
      2 * sum(ranks) <= GROUP &&
      parts.every(other => other.matrix.format === matrix.format && other.matrix.width === matrix.width) &&
      !parts.some(other => isLarge(other.matrix))
    );
  },
  forward: (x, parts, added) => {
    const {variant, as, bs, columns, across, rows, numbers, packed} = callOf(
      inner => x.size / inner,
      parts,
      added !== null,
    );
    const all = sum(variant.ranks);
    const [h] =
      all === 0 ? [] : runProgram(narrow(variant, false), {inputs: [x, ...as], outputs: [[rows, all]], numbers, rows});
    const isFew = rows <= FEW;
    const tilesAcross = sum(columns.map(columnCount => count(columnCount, isFew ? EACH : TILE)));
    const [y] = runWith(packed, isFew ? fewRows(variant) : tiles(variant), {
      inputs: [x, ...packed, ...(h ? [h, ...bs] : []), ...(added ? [added] : [])],
      outputs: [[...x.shape.slice(0, -1), across]],
      numbers,
      rows: isFew ? tilesAcross : count(rows, TILE) * tilesAcross,
    });
    h?.dispose();
    return y as tf.Tensor;
  },
  backward: (x, dy, parts) => {
    const {variant, as, bs, columns, rows, inner, numbers, packed} = callOf((_, across) => dy.size / across, parts);
    const all = sum(variant.ranks);
    const [h] =
      all === 0
        ? []
        : runProgram(narrow(variant, true), {inputs: [x, ...as, dy, ...bs], outputs: [[rows, 2 * all]], numbers, rows});
    return {
      ofFactors: () =>
        h === undefined
          ? []
          : runProgram(factorGradients(variant), {
              inputs: [x, dy, h],
              outputs: as.flatMap((a, i) => [a.shape, (bs[i] as tf.Tensor).shape]),
              numbers,
              rows: sum(
                [inner, ...columns.filter((_, i) => variant.ranks[i] !== 0)].map(length => count(length, COLUMNS)),
              ),
            }),
      ofInput: () => {
        const [dx] = runWith(packed, tilesBack(variant), {
          inputs: [dy, ...packed, ...(h ? [h, ...as] : [])],
          outputs: [[...dy.shape.slice(0, -1), inner]],
          numbers,
          rows: count(rows, TILE) * count(inner, TILE),
        });
        return dx as tf.Tensor;
      },
    };
  },
};
