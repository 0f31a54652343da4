import * as tf from '@tensorflow/tfjs';
import {currentNative} from '../../../kernels/wasm/module/find';
import type {AddedFunctions, Native} from '../../../kernels/wasm/module/native';
import {DEPTH, panelBytes, PANEL_ROW} from '../../../kernels/wasm/module/products';
import {type BlockMatrix, rowBytes} from '../../blockMatrix';
import type {QuantizedKernels} from '../quantizedKernels';
import {agrees} from './agrees';
import {QUANTIZED_BINARY} from './binary';
import {type QuantizedFunctions, MODULE_FORMATS} from './functions';

/** By the memory that they work in. */
const loaded = new WeakMap<Native, QuantizedKernels | null>();

/**
 * The kernels by our module, in the memory of the current backend; `undefined` where it cannot be loaded, or does not
 * give the numbers that it should.
 */
export function nativeQuantized(): QuantizedKernels | undefined {
  const native = currentNative();
  if (native === undefined) {
    return undefined;
  }
  let kernels = loaded.get(native);
  if (kernels === undefined) {
    const added = native.add<QuantizedFunctions>(QUANTIZED_BINARY);
    kernels = added === undefined || !agrees(native, added.functions) ? null : kernelsBy(native, added);
    loaded.set(native, kernels);
  }
  return kernels ?? undefined;
}

/** Numbers of a part, which is what the module unpacks at a time. */
const PART = 32;
/** About how many bytes of panels are made at a time: what stays in the cache beside the rows that they meet. */
const PANELS = 256 * 1024;
/** The cost of unpacking a number, in multiplications. */
const BY_UNPACKED = 4;
/** So few rows are each multiplied by themselves, without panels. */
const FEW = 2;

/** A matrix as the module takes it; `undefined` for one with rows that end in the middle of a part. */
interface Source {
  readonly format: number;
  readonly stride: number;
  readonly parts: number;
}

function sourceOf(matrix: BlockMatrix): Source | undefined {
  const format = MODULE_FORMATS.indexOf(matrix.format.name);
  const blocks = Math.ceil(matrix.width / matrix.format.numbers);
  const parts = (blocks * matrix.format.numbers) / PART;
  return Number.isInteger(parts) ? {format, stride: rowBytes(matrix), parts} : undefined;
}

function kernelsBy(native: Native, added: AddedFunctions<QuantizedFunctions>): QuantizedKernels {
  const only = (info: tf.TensorInfo) => tf.engine().makeTensorFromTensorInfo(info) as tf.Tensor2D;
  return {
    multiply: (x, blocks, matrix) => {
      const source = sourceOf(matrix);
      return source && only(product(native, added, x, blocks, matrix, source));
    },
    multiplyBack: (dz, blocks, matrix) => {
      const source = sourceOf(matrix);
      return source && only(productBack(native, added, dz, blocks, matrix, source));
    },
    lookUp: (numbers, blocks, matrix) => {
      const source = sourceOf(matrix);
      return source && only(lookUp(native, added, numbers.dataSync(), blocks, matrix, source));
    },
  };
}

/** `x·Wᵀ`, some rows of `W` at a time, which are columns of the result. */
function product(
  native: Native,
  {beside}: AddedFunctions<QuantizedFunctions>,
  x: tf.Tensor2D,
  blocks: tf.Tensor,
  {rows, width}: BlockMatrix,
  {format, stride, parts}: Source,
): tf.TensorInfo {
  const [count] = x.shape;
  const out = native.output([count, rows]);
  const [from, a, c] = [native.at(blocks), native.at(x), native.at(out)];
  const padded = 4 * PART * parts;
  if (count <= FEW) {
    const pieces = native.partsOf(rows, 1, BY_UNPACKED * rows * width);
    const [row = 0, ...scratch] = native.reserve(padded, ...pieces.map(() => PART * parts));
    native.writeFloats(row, new Float32Array(PART * parts)); // beyond the width there are zeros in blocks too
    for (let i = 0; i < count; i++) {
      native.copy(row, a + 4 * i * width, 4 * width);
      native.runParts(pieces, (own, {first, size}, piece) => {
        const [begin, to] = [from + first * stride, c + 4 * (i * rows + first)];
        beside(own).multiplyRow(format, begin, stride, size, parts, row, scratch[piece] as number, to);
      });
    }
    return out;
  }
  const panel = width * PANEL_ROW;
  const most = Math.max(8, 8 * Math.floor(PANELS / panel));
  const inPieces = (columns: number) => native.partsOf(Math.ceil(columns / 8), 1, BY_UNPACKED * columns * width);
  const numbers = inPieces(most).map(() => 8 * padded);
  const [panels = 0, ...places] = native.reserve(panelBytes(width, most), ...numbers);
  for (let first = 0; first < rows; first += most) {
    const columns = Math.min(most, rows - first);
    native.runParts(inPieces(columns), (own, piece, i) => {
      const place = places[i] as number;
      for (let eight = piece.first; eight < piece.first + piece.size; eight++) {
        const these = Math.min(8, columns - 8 * eight);
        beside(own).unpackRows(format, from + (first + 8 * eight) * stride, stride, these, parts, place);
        own.packColumns(place, padded, width, these, panels + eight * panel, panel);
      }
    });
    multiplyPanels(native, {m: count, k: width, n: columns}, [a, 4 * width], panels, [c + 4 * first, 4 * rows]);
  }
  return out;
}

/** `dz·W`, some columns of `W` at a time. */
function productBack(
  native: Native,
  {beside}: AddedFunctions<QuantizedFunctions>,
  dz: tf.Tensor2D,
  blocks: tf.Tensor,
  {rows, width}: BlockMatrix,
  {format, stride, parts}: Source,
): tf.TensorInfo {
  const [count] = dz.shape;
  const out = native.output([count, width]);
  const [from, a, c] = [native.at(blocks), native.at(dz), native.at(out)];
  /** Of the panels of a part, which are four. */
  const bytes = panelBytes(Math.min(DEPTH, rows), PART);
  const most = Math.max(1, Math.floor(PANELS / bytes));
  const [panels = 0] = native.reserve(bytes * Math.min(most, parts));
  for (let top = 0; top < rows; top += DEPTH) {
    const depth = Math.min(DEPTH, rows - top);
    const panel = depth * PANEL_ROW;
    for (let first = 0; PART * first < width; first += most) {
      const these = Math.min(most, parts - first);
      const columns = Math.min(PART * these, width - PART * first);
      native.runParts(native.partsOf(these, 1, BY_UNPACKED * columns * depth), (own, piece) => {
        const to = panels + 4 * panel * piece.first;
        const begin = from + top * stride;
        beside(own).unpackColumns(format, begin, stride, depth, first + piece.first, piece.size, to, panel);
      });
      const product = {m: count, k: depth, n: columns};
      multiplyPanels(native, product, [a + 4 * top, 4 * rows], panels, [c + 4 * PART * first, 4 * width], top > 0);
    }
  }
  return out;
}

/** A matrix in memory, and the bytes from one row to the next. */
type Rows = readonly [place: number, stride: number];

/** `c[m, n] = a[m, k] · panels`, or `c += …` if it `adds`. */
function multiplyPanels(
  native: Native,
  {m, k, n}: {m: number; k: number; n: number},
  [a, strideA]: Rows,
  panels: number,
  [c, strideC]: Rows,
  adds = false,
): void {
  native.runParts(native.partsOf(m, 4, m * k * n), (functions, {first, size}) => {
    const target = c + first * strideC;
    functions.multiply(
      ...[size, n, k, a + first * strideA, strideA, panels, k * PANEL_ROW, target, strideC],
      ...[adds ? target : 0, strideC, 0, 0, 0, 0],
    );
  });
}

function lookUp(
  native: Native,
  {functions: own}: AddedFunctions<QuantizedFunctions>,
  rows: ArrayLike<number>,
  blocks: tf.Tensor,
  {width}: BlockMatrix,
  {format, stride, parts}: Source,
): tf.TensorInfo {
  const out = native.output([rows.length, width]);
  const [from, target] = [native.at(blocks), native.at(out)];
  const [numbers = 0] = native.reserve(4 * PART * parts);
  for (let i = 0; i < rows.length; i++) {
    own.unpackRows(format, from + (rows[i] as number) * stride, stride, 1, parts, numbers);
    native.copy(target + 4 * i * width, numbers, 4 * width);
  }
  return out;
}
