import * as tf from '@tensorflow/tfjs';
import type {Epilogue} from '../shared/launches';
import {productBy} from '../shared/recordedProduct';
import {GROUP, limited, type Program, programOf, runProgram, slope} from './program';

// `y = f(x·W + s·(x·A)·B + b)` and its gradients in four launches. A workgroup computes a tile of 32 × 32 values, and a
// lane 4 × 4 of them. The factors add the product of a tile's rows with a few more columns.

const TILE = 32;
const DEEP = 16;
/** The columns whose gradients of the factors a workgroup sums. */
const COLUMNS = GROUP / 8;
/** The highest rank. The sums of a workgroup's lanes have to fit into its memory. */
const HIGHEST_RANK = 16;

/** The product, or the gradient in its input where `back`. */
function tiles(rank: number, back: boolean, {cap, m, t}: Epilogue): Program {
  return programOf(['adapted', rank, back, cap, m !== undefined, t !== undefined].join(), () => {
    const load = (tile: string, place: string, isInside: string, value: string) =>
      `${tile}[${place}] = select(0.0, ${value}, ${isInside});`;
    const loadW = back
      ? load('wTile', `k * ${TILE} + j`, 'at + k < u.inner && left + j < u.columns', 'w[(left + j) * u.inner + at + k]')
      : load('wTile', `e`, `at + l < u.inner && left + c < u.columns`, 'w[(at + l) * u.columns + left + c]');
    const update = back
      ? `hd[row * ${2 * rank} + ${rank} + r] * a[column * ${rank} + r]`
      : `hTile[tileRow * ${rank} + r] * b[r * u.columns + column]`;
    const half = Math.ceil(rank / 2);
    const ofA = `aTile[min(k * ${rank} + (lane % 2) * ${half} + r, ${DEEP * rank - 1})]`;
    // The gradient reads `s·dz·Bᵀ`, and the product computes `s·x·A`: two lanes for each row, of half of the rank each.
    const {tilesOfUpdate, loadA, addUpdate, storeUpdate} = back
      ? {tilesOfUpdate: '', loadA: '', addUpdate: '', storeUpdate: ''}
      : {
          tilesOfUpdate: `var<workgroup> aTile: array<f32, ${DEEP * rank}>;
var<workgroup> hTile: array<f32, ${TILE * rank}>;`,
          loadA: `for (var e = lane; e < ${DEEP * rank}; e += ${GROUP}) {
    let o = at * ${rank} + e;
    aTile[e] = select(0.0, a[o], o < u.inner * ${rank});
  }`,
          addUpdate: `let z = xTile[o + lane / 2];
    for (var r = 0; r < ${half}; r++) { sums[r] += z * ${ofA}; }`,
          storeUpdate: `for (var r = 0; r < ${half}; r++) {
  let q = (lane % 2) * ${half} + r;
  if (q < ${rank}) { hTile[(lane / 2) * ${rank} + q] = u.scale * sums[r]; }
}
workgroupBarrier();`,
        };
    return {
      reads: [
        'x',
        'w',
        'a',
        ...(back ? ['hd'] : ['b']),
        ...(m === undefined ? [] : ['m']),
        ...(t === undefined ? [] : ['t']),
      ],
      writes: ['y'],
      integers: ['rows', 'inner', 'columns'],
      floats: ['scale'],
      head: `var<workgroup> xTile: array<f32, ${TILE * DEEP}>; var<workgroup> wTile: array<f32, ${TILE * DEEP}>;
${tilesOfUpdate}`,
      body: `let across = (u.columns + ${TILE - 1}) / ${TILE};
let top = (group / across) * ${TILE};
let left = (group % across) * ${TILE};
let firstColumn = (lane % 8) * 4; let firstRow = (lane / 8) * 4;
var acc: array<vec4f, 4>; var sums: array<f32, ${half}>;
for (var at = 0; at < u.inner; at += ${DEEP}) {
  for (var e = lane; e < ${TILE * DEEP}; e += ${GROUP}) {
    let k = e % ${DEEP}; let j = e / ${DEEP}; let c = e % ${TILE}; let l = e / ${TILE};
    ${load('xTile', `k * ${TILE} + j`, 'at + k < u.inner && top + j < u.rows', 'x[(top + j) * u.inner + at + k]')}
    ${loadW}
  }
  ${loadA}
  workgroupBarrier();
  for (var k = 0; k < ${DEEP}; k++) {
    let o = k * ${TILE}; let c = o + firstColumn;
    let v = vec4f(wTile[c], wTile[c + 1], wTile[c + 2], wTile[c + 3]);
    for (var i = 0; i < 4; i++) { acc[i] += xTile[o + firstRow + i] * v; }
    ${addUpdate}
  }
  workgroupBarrier();
}
${storeUpdate}
for (var i = 0; i < 4; i++) { for (var j = 0; j < 4; j++) {
  let tileRow = firstRow + i; let row = top + tileRow; let column = left + firstColumn + j;
  if (row < u.rows && column < u.columns) {
    var s = acc[i][j]; for (var r = 0; r < ${rank}; r++) { s += ${update}; }
    ${m === undefined ? '' : 's *= m[column];'} ${t === undefined ? '' : 's += t[column];'}
    ${limited(cap)}
    y[row * u.columns + column] = s;
  }
} }`,
    };
  });
}

/** `x·A` and `s·dz·Bᵀ`, one after the other in each row, and `dz`, if an epilogue makes it of `dy`. */
function narrow(rank: number, {cap, m}: Epilogue): Program {
  const makes = cap !== undefined || m !== undefined;
  return programOf(['narrow', rank, cap, m !== undefined].join(), () => ({
    reads: ['x', 'a', 'b', 'dy', ...(cap === undefined ? [] : ['y']), ...(m === undefined ? [] : ['m'])],
    writes: ['hd', ...(makes ? ['dz'] : [])],
    integers: ['inner', 'columns'],
    floats: ['scale'],
    head: `var<workgroup> parts: array<f32, ${GROUP * 2 * rank}>;`,
    body: `var sums: array<f32, ${2 * rank}>;
for (var k = lane; k < u.inner; k += ${GROUP}) {
  let v = x[group * u.inner + k];
  for (var r = 0; r < ${rank}; r++) { sums[r] += v * a[k * ${rank} + r]; }
}
for (var j = lane; j < u.columns; j += ${GROUP}) {
  let o = group * u.columns + j; var v = dy[o];
  ${slope(cap, 'v', 'y[o]')} ${m === undefined ? '' : 'v *= m[j];'} ${makes ? 'dz[o] = v;' : ''}
  for (var r = 0; r < ${rank}; r++) { sums[${rank} + r] += v * u.scale * b[r * u.columns + j]; }
}
for (var r = 0; r < ${2 * rank}; r++) { parts[r * ${GROUP} + lane] = sums[r]; }
workgroupBarrier();
if (lane < ${2 * rank}) {
  var s = 0.0;
  for (var k = 0; k < ${GROUP}; k++) { s += parts[lane * ${GROUP} + k]; }
  hd[group * ${2 * rank} + lane] = s;
}`,
  }));
}

/** The gradients of the factors, `xᵀ·dh` and `s·hᵀ·dz`: sums over the rows. */
function factorGradients(rank: number): Program {
  const last = `if (lane < ${COLUMNS} && column < width) { for (var r = 0; r < ${rank}; r++) {
  var s = 0.0; for (var k = 0; k < 8; k++) { s += parts[(k * ${COLUMNS} + lane) * ${rank} + r]; }
  if (ofA) { da[column * ${rank} + r] = s; } else { db[r * u.columns + column] = s * u.scale; }
} }`;
  return programOf(`factors,${rank}`, () => ({
    reads: ['x', 'dz', 'hd'],
    writes: ['da', 'db'],
    integers: ['rows', 'inner', 'columns'],
    floats: ['scale'],
    head: `var<workgroup> parts: array<f32, ${GROUP * rank}>;`,
    body: `let before = (u.inner + ${COLUMNS - 1}) / ${COLUMNS}; let ofA = group < before;
    let width = select(u.columns, u.inner, ofA);
let column = (group - select(before, 0, ofA)) * ${COLUMNS} + lane % ${COLUMNS}; var sums: array<f32, ${rank}>;
if (column < width) { for (var row = lane / ${COLUMNS}; row < u.rows; row += 8) {
  let o = row * width + column; var v = 0.0; if (ofA) { v = x[o]; } else { v = dz[o]; }
  let h = row * ${2 * rank} + select(0, ${rank}, ofA);
  for (var r = 0; r < ${rank}; r++) { sums[r] += v * hd[h + r]; }
} }
for (var r = 0; r < ${rank}; r++) { parts[lane * ${rank} + r] = sums[r]; }
workgroupBarrier();
${last}`,
  }));
}

/** The product and its gradients. */
export const adaptedProduct = productBy({
  takes: (rows, {a, b}) => {
    const [rank = 0] = b.shape;
    return rank >= 1 && rank <= HIGHEST_RANK && Math.min(rows, a.size, b.size) > 0;
  },
  forward: (x, {kernel, a, b, scaling}, epilogue) => {
    const {rank, rows, inner, columns} = sizes(x, a, b);
    const {m, t} = epilogue;
    const [y] = runProgram(tiles(rank, false, epilogue), {
      inputs: [x, kernel, a, b, ...(m === undefined ? [] : [m]), ...(t === undefined ? [] : [t])],
      outputs: [[...x.shape.slice(0, -1), columns]],
      numbers: [rows, inner, columns, scaling],
      rows: pieceCount(rows, TILE) * pieceCount(columns, TILE),
    });
    return y as tf.Tensor;
  },
  backward: (x, epilogue, {kernel, a, b, scaling}) => {
    const {rank, rows, inner, columns} = sizes(x, a, b);
    const {dy, y, cap, m} = epilogue;
    const [hd, made] = runProgram(narrow(rank, epilogue), {
      inputs: [x, a, b, dy, ...(cap === undefined ? [] : [y as tf.Tensor]), ...(m === undefined ? [] : [m])],
      outputs: [[rows, 2 * rank], ...(cap === undefined && m === undefined ? [] : [dy.shape])],
      numbers: [inner, columns, scaling],
      rows,
    }) as [tf.Tensor, tf.Tensor | undefined];
    const dz = made ?? dy;
    return {
      dz,
      ofFactors: () =>
        runProgram(factorGradients(rank), {
          inputs: [x, dz, hd],
          outputs: [a.shape, b.shape],
          numbers: [rows, inner, columns, scaling],
          rows: pieceCount(inner, COLUMNS) + pieceCount(columns, COLUMNS),
        }) as [tf.Tensor, tf.Tensor],
      ofInput: () => {
        const [dx] = runProgram(tiles(rank, true, {}), {
          inputs: [dz, kernel, a, hd],
          outputs: [x.shape],
          numbers: [rows, columns, inner, 1],
          rows: pieceCount(rows, TILE) * pieceCount(inner, TILE),
        });
        return dx as tf.Tensor;
      },
    };
  },
});

function sizes(x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) {
  const rank = b.shape[0];
  const [inner, columns] = [a.size / rank, b.size / rank];
  return {rank, inner, columns, rows: x.size / inner};
}

/** How many pieces of a size make up a length. */
function pieceCount(length: number, size: number): number {
  return Math.ceil(length / size);
}
