import * as tf from '@tensorflow/tfjs';
import {type AttentionInputs, attentionLayout, type AttentionSettings, biasOf, reachOf} from '../transformer';
import type {NativeFunctions} from '../../../../backends/wasm/module/module';
import type {AddedFunctions, Native} from '../../../../backends/wasm/module/native';
import {PANEL_ROW, panelBytes} from '../../../../backends/wasm/module/products';
import type {TransformerFunctions} from './functions';

/**
 * The most queries whose scores are held at a time. Fewer with a limited window, so that few scores are computed for
 * keys that a query does not see.
 */
const QUERIES = 512;
const LIMITED_QUERIES = 128;
const LEAST_QUERIES = 32;

/** Rows in memory: the address of the first, and the bytes between two. */
interface Rows {
  readonly address: number;
  readonly stride: number;
}

interface Sizes {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly size: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  /** How many positions before and after its own a query sees. */
  readonly behind: number;
  readonly ahead: number;
  /** The most queries of a block, and the most keys that they see. */
  readonly most: number;
  readonly mostKeys: number;
}

const PANEL_COLUMNS = PANEL_ROW / 4;
const PLAIN_PRODUCT = [0, 0, 0, 0, 0, 1, 0] as const; // no bias, no clamp, rows outside, one sum

function attentionSizes(
  {batch, queries, keys, size}: Pick<Sizes, 'batch' | 'queries' | 'keys' | 'size'>,
  settings: AttentionSettings,
): Sizes {
  const {heads, keyValueHeads} = settings;
  const {behind, ahead} = reachOf(settings);
  const reach = behind + ahead + 1;
  const isLimited = Math.min(behind, ahead) < keys - 1;
  const fitting = 4 * Math.ceil(Math.min(LIMITED_QUERIES, Math.max(LEAST_QUERIES, reach / 2)) / 4); // rows of tiles
  const most = Math.min(queries, isLimited ? fitting : QUERIES);
  const mostKeys = Math.min(keys, reach + most + PANEL_COLUMNS);
  return {batch, queries, keys, size, heads, keyValueHeads, behind, ahead, most, mostKeys};
}

function headRowsOf(native: Native, tensors: readonly tf.TensorInfo[], sizes: Sizes): [q: Rows, k: Rows, v: Rows] {
  const {size, heads, keyValueHeads} = sizes;
  const [first, k, v] = tensors as [tf.TensorInfo, tf.TensorInfo | undefined, tf.TensorInfo | undefined];
  const queryBytes = 4 * size * heads;
  const keyBytes = 4 * size * keyValueHeads;
  const address = native.at(first);
  if (k === undefined || v === undefined) {
    const stride = queryBytes + 2 * keyBytes;
    return [
      {address, stride},
      {address: address + queryBytes, stride},
      {address: address + queryBytes + keyBytes, stride},
    ];
  }
  return [
    {address, stride: queryBytes},
    {address: native.at(k), stride: keyBytes},
    {address: native.at(v), stride: keyBytes},
  ];
}

/** The address of the bias, which is added before the products are scaled, unless they are capped; 0 for none. */
function biasAddress(native: Native, inputs: AttentionInputs, settings: AttentionSettings): number {
  const bias = biasOf(inputs);
  const scale = scaleAfterBias(settings);
  return bias === undefined ? 0 : native.at(scale === 1 ? bias : tf.div(bias, scale));
}

/** The factor of the products and the bias: capped products are scaled already. */
function scaleAfterBias({scale, softCap}: AttentionSettings): number {
  return softCap == null ? scale : 1;
}

/** Caps the products of a block. The derivatives, if they are needed, go to `slopes`. */
function cap(
  functions: TransformerFunctions,
  settings: AttentionSettings,
  scores: number,
  slopes: number,
  block: Block,
) {
  const {scale, softCap} = settings;
  if (softCap != null) {
    functions.softCap(scores, slopes, block.rows * block.columns, scale, softCap);
  }
}

/** An example's address in an array with the layout of the bias; 0 for none. */
function ofExample(address: number, example: number, inputs: AttentionInputs, {heads, queries, keys}: Sizes): number {
  const examples = biasOf(inputs)?.shape[0] ?? 1;
  return address === 0 ? 0 : address + 4 * (example % examples) * heads * queries * keys;
}

/**
 * Calls `f` with the offset of each query of a block in its scores and in the layout of the bias, and the count of
 * values: once for all queries if these see all keys.
 */
function forEachQuery(
  {head, from, rows, first, columns}: Block,
  {queries, keys}: Sizes,
  f: (inScores: number, inBias: number, count: number) => void,
): void {
  const together = columns === keys ? rows : 1;
  for (let row = 0; row < rows; row += together) {
    f(4 * row * columns, 4 * ((head * queries + from + row) * keys + first), together * columns);
  }
}

function listOf(inputs: AttentionInputs): tf.Tensor[] {
  return 'packed' in inputs ? [inputs.packed] : [inputs.q, inputs.k, inputs.v];
}

function rowsOfHead({address, stride}: Rows, example: number, rows: number, head: number, size: number): Rows {
  return {address: address + example * rows * stride + 4 * head * size, stride};
}

/**
 * Calls `f` for each key and value head in each example, on several threads if that pays: with the thread's functions,
 * and the addresses of its scratch memory.
 *
 * @param bytes the sizes of the scratch buffers that a head needs.
 * @param inOrder whether heads must run one after another, because they add to the same values.
 */
function forEachHead(
  native: Native,
  {batch, queries, keys, size, heads, keyValueHeads}: Sizes,
  {bytes, inOrder}: {bytes: readonly number[]; inOrder: boolean},
  f: (threadFunctions: NativeFunctions, addresses: readonly number[], example: number, shared: number) => void,
): void {
  const count = batch * keyValueHeads;
  const work = 2 * batch * heads * queries * keys * size;
  const parts = inOrder ? [{first: 0, size: count}] : native.partsOf(count, 1, work);
  const addresses = native.reserve(...parts.map(() => bytes).flat());
  native.runParts(parts, (threadFunctions, {first, size: some}, part) => {
    const ownAddresses = addresses.slice(part * bytes.length, (part + 1) * bytes.length);
    for (let head = first; head < first + some; head++) {
      f(threadFunctions, ownAddresses, Math.floor(head / keyValueHeads), head % keyValueHeads);
    }
  });
}

/** A block of queries of one head, from `from` on, and the keys that any of them sees, from `first` on. */
interface Block {
  readonly head: number;
  readonly from: number;
  readonly rows: number;
  readonly first: number;
  readonly columns: number;
  /** The range of these keys that its first query sees, `end` excluded. It moves by one with each query. */
  readonly start: number;
  readonly end: number;
}

/** Calls `f` with each block of queries of each head that shares a key head. */
function forEachBlock(
  {heads, keyValueHeads, queries, keys, behind, ahead, most}: Sizes,
  shared: number,
  f: (block: Block) => void,
): void {
  const group = heads / keyValueHeads;
  for (let head = shared * group; head < (shared + 1) * group; head++) {
    for (let from = 0; from < queries; from += most) {
      const rows = Math.min(most, queries - from);
      const position = keys - queries + from;
      const seen = Math.max(0, position - behind);
      const first = seen - (seen % PANEL_COLUMNS);
      const columns = Math.max(0, Math.min(keys, position + rows + ahead) - first);
      f({head, from, rows, first, columns, start: position - behind - first, end: position + ahead + 1 - first});
    }
  }
}

function addBias({addRows}: TransformerFunctions, bias: number, scores: number, block: Block, sizes: Sizes): void {
  if (bias !== 0) {
    forEachQuery(block, sizes, (inScores, inBias, count) => addRows(bias + inBias, scores + inScores, 0, 1, count));
  }
}

export function attend(
  native: Native,
  added: AddedFunctions<TransformerFunctions>,
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  settings: AttentionSettings,
): tf.TensorInfo {
  const sizes = attentionSizes(attentionLayout(inputs, settings), settings);
  const {batch, queries, size, heads} = sizes;
  const out = native.output([batch, queries, heads * size]);
  const masks = native.at(mask);
  const bias = biasAddress(native, inputs, settings);
  const biasAt = (example: number) => ofExample(bias, example, inputs, sizes);
  attendRows(
    native,
    added,
    sizes,
    headRowsOf(native, listOf(inputs), sizes),
    {settings, masks, biasAt},
    native.at(out),
  );
  return out;
}

/** The attention of one query to `keys` keys, at addresses. `y` may be `q`: each head reads its query first. */
export function attendOne(
  native: Native,
  added: AddedFunctions<TransformerFunctions>,
  {q, k, v}: {q: number; k: number; v: number},
  {keys, size}: {keys: number; size: number},
  settings: AttentionSettings,
  y: number,
): void {
  const {heads, keyValueHeads} = settings;
  const sizes = attentionSizes({batch: 1, queries: 1, keys, size}, settings);
  const stride = 4 * size * keyValueHeads;
  const rows: [q: Rows, k: Rows, v: Rows] = [
    {address: q, stride: 4 * size * heads},
    {address: k, stride},
    {address: v, stride},
  ];
  attendRows(native, added, sizes, rows, {settings, masks: 0, biasAt: () => 0}, y);
}

function attendRows(
  native: Native,
  {beside}: AddedFunctions<TransformerFunctions>,
  sizes: Sizes,
  [q, k, v]: [q: Rows, k: Rows, v: Rows],
  {settings, masks, biasAt}: {settings: AttentionSettings; masks: number; biasAt: (example: number) => number},
  to: number,
): void {
  const {queries, keys, size, heads, most, mostKeys} = sizes;
  const y = {address: to, stride: 4 * heads * size};
  // A tile of the products by panels has four queries, and packing takes as long as the products of one.
  const isOne = queries === 1;
  const bytes = [4 * most * mostKeys, ...(isOne ? [] : [panelBytes(size, keys), panelBytes(keys, size)])];
  forEachHead(native, sizes, {bytes, inOrder: false}, (threadFunctions, addresses, example, shared) => {
    const [scores = 0, keyPanels = 0, valuePanels = 0] = addresses;
    const {packColumns, packRows, multiply} = threadFunctions;
    const functions = beside(threadFunctions);
    const [ownK, ownV] = [k, v].map(rows => rowsOfHead(rows, example, keys, shared, size)) as [Rows, Rows];
    if (!isOne) {
      packColumns(ownK.address, ownK.stride, size, keys, keyPanels, size * PANEL_ROW);
      packRows(ownV.address, ownV.stride, keys, size, valuePanels, keys * PANEL_ROW);
    }
    forEachBlock(sizes, shared, block => {
      const {head, from, rows, first, columns, start, end} = block;
      const ownQ = rowsOfHead(q, example, queries, head, size);
      const ownY = rowsOfHead(y, example, queries, head, size);
      const left = ownQ.address + from * ownQ.stride;
      if (isOne) {
        functions.scoreKeys(left, ownK.address + first * ownK.stride, ownK.stride, columns, size, scores);
      } else {
        const panels = keyPanels + (first / PANEL_COLUMNS) * size * PANEL_ROW;
        const keyRows = [panels, size * PANEL_ROW] as const;
        multiply(rows, columns, size, left, ownQ.stride, ...keyRows, scores, 4 * columns, ...PLAIN_PRODUCT);
      }
      cap(functions, settings, scores, 0, block);
      addBias(functions, biasAt(example), scores, block, sizes);
      const ownMask = masks && masks + 4 * (example * keys + first);
      functions.softmaxRows(scores, rows, columns, scaleAfterBias(settings), ownMask, start, end);
      const target = ownY.address + from * ownY.stride;
      if (isOne) {
        functions.sumValues(scores, ownV.address + first * ownV.stride, ownV.stride, columns, size, target);
      } else {
        multiply(
          ...[rows, size, columns, scores, 4 * columns],
          ...[valuePanels + first * PANEL_ROW, keys * PANEL_ROW, target, ownY.stride],
          ...PLAIN_PRODUCT,
        );
      }
    });
  });
}

/** The gradients in the inputs; that in the bias is divided by `biasScale`. */
export function attendGradient(
  native: Native,
  {beside}: AddedFunctions<TransformerFunctions>,
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor,
  settings: AttentionSettings,
): {dInputs: tf.TensorInfo[]; dBias: tf.TensorInfo | undefined; biasScale: number} {
  const scale = scaleAfterBias(settings);
  const isCapped = settings.softCap != null;
  const sizes = attentionSizes(attentionLayout(inputs, settings), settings);
  const {queries, keys, size, heads, most, mostKeys} = sizes;
  const outs = listOf(inputs).map(({shape}) => native.output(shape));
  const [q, k, v] = headRowsOf(native, listOf(inputs), sizes);
  const [dq, dk, dv] = headRowsOf(native, outs, sizes);
  const masks = native.at(mask);
  const bias = biasAddress(native, inputs, settings);
  const dBias = bias === 0 || settings.fixedBias ? undefined : native.output(biasOf(inputs)?.shape ?? []);
  const toBias = native.at(dBias ?? null);
  const g = {address: native.at(dy), stride: 4 * heads * size};
  const scoreBytes = 4 * most * mostKeys;
  const bytes = [
    ...[scoreBytes, scoreBytes, scoreBytes],
    ...[panelBytes(size, keys), panelBytes(size, keys), panelBytes(keys, size), panelBytes(most, size)],
    ...[4 * mostKeys * size, isCapped ? scoreBytes : 0],
  ];
  if (dBias !== undefined) {
    const rows = tf.util.sizeFromShape(dBias.shape) / keys;
    native.functions.multiply(rows, keys, 0, toBias, 0, toBias, 0, toBias, 4 * keys, ...PLAIN_PRODUCT); // zeros
  }
  forEachHead(native, sizes, {bytes, inOrder: dBias !== undefined}, (threadFunctions, addresses, example, shared) => {
    const [scores, steps, transposed, kColumns, vColumns, kRows, queryPanels, sums, slopes] = addresses as [
      ...[number, number, number, number, number, number, number, number, number],
    ];
    const {packColumns, packRows, multiply, transpose} = threadFunctions;
    const functions = beside(threadFunctions);

    /** Adds `matrixᵀ · own` to the rows of the block's keys: `[rows, columns]ᵀ · [rows, size]`. */
    const collect = (matrix: number, {address, stride}: Rows, {rows, first, columns}: Block, target: Rows) => {
      transpose(matrix, rows, columns, transposed);
      packRows(address, stride, rows, size, queryPanels, rows * PANEL_ROW);
      multiply(
        ...[columns, size, rows, transposed, 4 * rows, queryPanels, rows * PANEL_ROW, sums, 4 * size],
        ...PLAIN_PRODUCT,
      );
      functions.addRows(sums, target.address + first * target.stride, target.stride, columns, size);
    };

    const [ownK, ownV, toK, toV] = [k, v, dk, dv].map(rows => rowsOfHead(rows, example, keys, shared, size)) as [
      Rows,
      Rows,
      Rows,
      Rows,
    ];
    packColumns(ownK.address, ownK.stride, size, keys, kColumns, size * PANEL_ROW);
    packColumns(ownV.address, ownV.stride, size, keys, vColumns, size * PANEL_ROW);
    packRows(ownK.address, ownK.stride, keys, size, kRows, keys * PANEL_ROW);
    // An empty sum writes zeros.
    for (const {address, stride} of [toK, toV]) {
      multiply(keys, size, 0, address, 0, kColumns, 0, address, stride, ...PLAIN_PRODUCT);
    }
    forEachBlock(sizes, shared, block => {
      const {head, from, rows, first, columns, start, end} = block;
      const panelsFrom = (first / PANEL_COLUMNS) * size * PANEL_ROW;
      const [ownQ, ownG, toQ] = [q, g, dq].map(all => {
        const {address, stride} = rowsOfHead(all, example, queries, head, size);
        return {address: address + from * stride, stride};
      }) as [Rows, Rows, Rows];
      multiply(
        ...[rows, columns, size, ownQ.address, ownQ.stride, kColumns + panelsFrom, size * PANEL_ROW],
        ...[scores, 4 * columns, ...PLAIN_PRODUCT],
      );
      cap(functions, settings, scores, slopes, block);
      addBias(functions, ofExample(bias, example, inputs, sizes), scores, block, sizes);
      const ownMask = masks && masks + 4 * (example * keys + first);
      functions.softmaxRows(scores, rows, columns, scale, ownMask, start, end);
      multiply(
        ...[rows, columns, size, ownG.address, ownG.stride, vColumns + panelsFrom, size * PANEL_ROW],
        ...[steps, 4 * columns, ...PLAIN_PRODUCT],
      );
      collect(scores, ownG, block, toV);
      functions.softmaxGradient(scores, steps, rows, columns, scale);
      if (dBias !== undefined) {
        const target = ofExample(toBias, example, inputs, sizes);
        forEachQuery(block, sizes, (inSteps, inBias, count) =>
          functions.addRows(steps + inSteps, target + inBias, 0, 1, count),
        );
      }
      if (isCapped) {
        functions.multiplyInto(slopes, steps, rows * columns, settings.scale);
      }
      multiply(
        ...[rows, size, columns, steps, 4 * columns, kRows + first * PANEL_ROW, keys * PANEL_ROW],
        ...[toQ.address, toQ.stride, ...PLAIN_PRODUCT],
      );
      collect(steps, ownQ, block, toK);
    });
  });
  return {dInputs: outs, dBias, biasScale: scale};
}
