import * as tf from '@tensorflow/tfjs';
import {currentNative} from '../../../../backends/wasm/module/find';
import type {NativeFunctions} from '../../../../backends/wasm/module/module';
import type {AddedFunctions, Native} from '../../../../backends/wasm/module/native';
import {BLOCK, DEPTH, panelBytes, PANEL_ROW} from '../../../../backends/wasm/module/products';
import {type BlockMatrix, rowBytes} from '../../formats/blockMatrix';
import {areActivationsRounded} from '../activations';
import {placeInFile} from '../../streamed/streamedBlocks';
import {readRowsAt} from '../../streamed/streamedFile';
import type {QuantizedKernels} from '../quantizedKernels';
import {agrees} from './agrees';
import {QUANTIZED_BINARY} from './binary';
import {withRows} from './blocksInHeap';
import {
  JOINT_FORMATS,
  MODULE_FORMATS,
  type QuantizedFunctions,
  ROUNDED_FORMATS,
  roundedBytes,
  sumBytes,
} from './functions';

/** By wasm memory. */
const loaded = new WeakMap<Native, QuantizedKernels | null>();

/** The kernels of our module, in the current backend's memory; `undefined` if it cannot be loaded or is wrong. */
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

/** The values that the module unpacks at a time. */
const PART = 32;
/** About how many bytes of panels are unpacked at a time, so that they stay in the cache with the rows. */
const PANELS = 256 * 1024;
/** The cost of unpacking a value, in multiplications. */
const BY_UNPACKED = 4;
/**
 * Up to this many rows are multiplied with weights that are unpacked in registers: together in planned passes, with
 * blocks or with floats in other products, whose last bits depend on it, and rounded.
 */
const FEW = {joint: 16, blocks: 2, floats: 6, rounded: 4};

/** A matrix in the module's terms; `undefined` if rows end in the middle of a part. */
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
    bytesOf: blocks => native.bytes(native.at(blocks), 4 * blocks.size),
    rowProducts: {
      takes: (matrix, count) => {
        const source = sourceOf(matrix);
        const isJoint = source !== undefined && JOINT_FORMATS.has(source.format) && count <= FEW.joint;
        return isJoint || (source !== undefined && mannerOf(count, matrix, source).isFew);
      },
      multiply: (x, count, targets) => {
        const [{matrix}] = targets as [(typeof targets)[0]];
        const source = sourceOf(matrix) as Source;
        if (targets.every(({blocks}) => placeInFile(blocks) === undefined)) {
          const placed = targets.map(({blocks, matrix: {rows}, to}) => ({from: native.at(blocks), rows, to}));
          fewRows(native, added, [x, count], matrix, source, placed);
          return;
        }
        // One after the other: only one of them needs to be in memory.
        for (const {blocks, matrix: streamed, to} of targets) {
          withRows(native, blocks, [streamed.rows, source.stride], 1, (from, first, rows) => {
            const target = {from, rows, to: to + 4 * first, step: streamed.rows};
            fewRows(native, added, [x, count], streamed, source, [target]);
          });
        }
      },
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

/** Whether this many rows count as few, and whether they are rounded to 8 bits. */
function mannerOf(
  count: number,
  {format: {numbers}}: BlockMatrix,
  {format}: Source,
): {isFew: boolean; rounds: boolean} {
  const rounds = count <= FEW.rounded && areActivationsRounded() && ROUNDED_FORMATS.has(format);
  return {rounds, isFew: rounds || count <= (numbers > 1 ? FEW.blocks : FEW.floats)};
}

/** `x·Wᵀ` of a few rows with matrices of one format and width. A result's rows are `step` values apart. */
function fewRows(
  native: Native,
  {functions, beside}: AddedFunctions<QuantizedFunctions>,
  [x, count]: readonly [address: number, rows: number],
  matrix: BlockMatrix,
  source: Source,
  targets: readonly {from: number; rows: number; to: number; step?: number}[],
): void {
  const {width} = matrix;
  const {format, stride, parts} = source;
  const {rounds} = mannerOf(count, matrix, source);
  const padded = 4 * PART * parts;
  const size = rounds ? roundedBytes(parts) : padded + sumBytes(parts);
  const isJoint = count > 1 && !rounds && JOINT_FORMATS.has(format);
  const all = targets.reduce((sum, {rows}) => sum + rows, 0);
  const pieces = native.partsOf(all, 1, count * BY_UNPACKED * all * width);
  const [first = 0, ...lanes] = native.reserve(count * size, ...pieces.map(() => (isJoint ? 16 * count : 0)));
  for (let i = 0; i < count; i++) {
    const row = first + i * size;
    if (rounds) {
      functions.roundRow(x + 4 * i * width, width, parts, row);
    } else {
      functions.prepareRow(format, x + 4 * i * width, width, parts, row, row + padded);
    }
  }
  native.runParts(pieces, (thread, piece, at) => {
    const added = beside(thread);
    let begin = -piece.first;
    for (const {from, rows, to, step = rows} of targets) {
      const low = Math.max(0, -begin);
      const some = Math.min(rows, piece.size - begin) - low;
      if (isJoint && some > 0) {
        const rowsAndSums = [first, first + padded, count, size] as const;
        const target = [lanes[at] as number, to + 4 * low, 4 * step] as const;
        added.multiplyRows(format, from + low * stride, stride, some, parts, ...rowsAndSums, ...target);
      }
      for (let i = 0; !isJoint && some > 0 && i < count; i++) {
        const [row, target] = [first + i * size, to + 4 * (low + i * step)];
        if (rounds) {
          added.multiplyRounded(format, from + low * stride, stride, some, parts, row, target);
        } else {
          added.multiplyRow(format, from + low * stride, stride, some, parts, row, row + padded, target);
        }
      }
      begin += rows;
    }
  });
}

/**
 * `x·Wᵀ`, for some rows of `W` (columns of the result) at a time. Each thread unpacks what it multiplies: threads do
 * not wait for each other, and the unpacked values are in their cache.
 */
function product(
  native: Native,
  added: AddedFunctions<QuantizedFunctions>,
  x: tf.Tensor2D,
  blocks: tf.Tensor,
  matrix: BlockMatrix,
  source: Source,
): tf.TensorInfo {
  const {rows, width} = matrix;
  const {format, stride, parts} = source;
  const {beside} = added;
  const [count] = x.shape;
  const out = native.output([count, rows]);
  const [a, c] = [native.at(x), native.at(out)];
  if (mannerOf(count, matrix, source).isFew) {
    withRows(native, blocks, [rows, stride], 1, (from, first, some) => {
      fewRows(native, added, [a, count], matrix, source, [{from, rows: some, to: c + 4 * first, step: rows}]);
    });
    return out;
  }
  const padded = 4 * PART * parts;
  const panel = width * PANEL_ROW;
  const most = 8 * Math.max(1, Math.floor(PANELS / panel));
  withRows(native, blocks, [rows, stride], 8, (from, first, size) => {
    const pieces = native.partsOf(Math.ceil(size / 8), 1, (count + BY_UNPACKED) * size * width);
    const addresses = native.reserve(...pieces.flatMap(() => [panelBytes(width, most), 8 * padded]));
    native.runParts(pieces, (thread, piece, i) => {
      const [panels = 0, unpacked = 0] = addresses.slice(2 * i);
      const end = Math.min(size, 8 * (piece.first + piece.size));
      for (let begin = 8 * piece.first; begin < end; begin += most) {
        const these = Math.min(most, end - begin);
        for (let at = 0; at < these; at += 8) {
          const some = Math.min(8, these - at);
          beside(thread).unpackRows(format, from + (begin + at) * stride, stride, some, parts, unpacked);
          thread.packColumns(unpacked, padded, width, some, panels + (at / 8) * panel, panel);
        }
        const target = c + 4 * (first + begin);
        multiplyPanels(thread, {m: count, k: width, n: these}, [a, 4 * width], panels, [target, 4 * rows]);
      }
    });
  });
  return out;
}

/** `dz·W`, for some columns of `W` at a time, likewise. */
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
  const [a, c] = [native.at(dz), native.at(out)];
  /** Size of the four panels of a part. */
  const bytes = panelBytes(Math.min(DEPTH, rows), PART);
  const most = Math.max(1, Math.floor(PANELS / bytes));
  withRows(native, blocks, [rows, stride], DEPTH, (from, firstRow, size) => {
    const pieces = native.partsOf(parts, 1, (count + BY_UNPACKED) * size * width);
    const addresses = native.reserve(...pieces.map(() => bytes * Math.min(most, parts)));
    native.runParts(pieces, (thread, piece, i) => {
      const panels = addresses[i] as number;
      const end = piece.first + piece.size;
      for (let top = 0; top < size; top += DEPTH) {
        const depth = Math.min(DEPTH, size - top);
        const row = firstRow + top;
        for (let first = piece.first; first < end; first += most) {
          const these = Math.min(most, end - first);
          const [begin, panel] = [from + top * stride, depth * PANEL_ROW];
          beside(thread).unpackColumns(format, begin, stride, depth, first, these, panels, panel);
          const columns = Math.min(PART * these, width - PART * first);
          const target = c + 4 * PART * first;
          const product = {m: count, k: depth, n: columns};
          multiplyPanels(thread, product, [a + 4 * row, 4 * rows], panels, [target, 4 * width], BLOCK, row > 0);
        }
      }
    });
  });
  return out;
}

/** A matrix in memory, with its row stride in bytes. */
type Rows = readonly [address: number, stride: number];

/** `c[m, n] = a[m, k] · panels`, or `c += …` if it `adds`; in blocks of so many products, or with 0 in one sum. */
function multiplyPanels(
  functions: NativeFunctions,
  {m, k, n}: {m: number; k: number; n: number},
  [a, strideA]: Rows,
  panels: number,
  [c, strideC]: Rows,
  block = 0,
  adds = false,
): void {
  functions.multiply(
    ...[m, n, k, a, strideA, panels, k * PANEL_ROW, c, strideC],
    ...[adds ? c : 0, strideC, 0, 0, 0, 0, block],
  );
}

function lookUp(
  native: Native,
  {functions}: AddedFunctions<QuantizedFunctions>,
  rows: ArrayLike<number>,
  blocks: tf.Tensor,
  {width}: BlockMatrix,
  {format, stride, parts}: Source,
): tf.TensorInfo {
  const out = native.output([rows.length, width]);
  const target = native.at(out);
  const place = placeInFile(blocks);
  const from = place === undefined ? native.at(blocks) : 0;
  const [numbers = 0, packed = 0] = native.reserve(4 * PART * parts, place === undefined ? 0 : stride);
  /** Rows that were read → where they are in the result. A text repeats tokens. */
  const earlier = new Map<number, number>();
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    const same = earlier.get(row);
    if (same !== undefined) {
      native.copy(target + 4 * i * width, target + 4 * same * width, 4 * width);
      continue;
    }
    if (place !== undefined) {
      earlier.set(row, i);
      readRowsAt(place, stride, row, native.bytes(packed, stride));
    }
    const address = place === undefined ? from + row * stride : packed;
    functions.unpackRows(format, address, stride, 1, parts, numbers);
    native.copy(target + 4 * i * width, numbers, 4 * width);
  }
  return out;
}
