import * as tf from '@tensorflow/tfjs';
import {type AttentionInputs, attentionLayout, type AttentionSettings} from '../transformer';
import type {Native} from '../../../kernels/wasm/module/native';
import {PANEL_ROW, panelBytes} from '../../../kernels/wasm/module/products';
import type {TransformerFunctions} from './functions';

/** Scores of so many queries are held at a time. */
const QUERIES = 512;

/** Rows of numbers in memory: where the first begins, and how many bytes lie between two. */
interface Rows {
  readonly place: number;
  readonly stride: number;
}

/** Sizes of one attention. */
interface Sizes {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly size: number;
  readonly heads: number;
  readonly keyValueHeads: number;
}

const PLAIN_PRODUCT = [0, 0, 0, 0, 1] as const; // no bias, no clamp, rows outside

function attentionSizes(inputs: AttentionInputs, {heads, keyValueHeads}: AttentionSettings): Sizes {
  const {batch, queries, keys, size} = attentionLayout(inputs, {heads, keyValueHeads});
  return {batch, queries, keys, size, heads, keyValueHeads};
}

/** Queries, keys and values in memory, for tensors of the shapes of the inputs. */
function rowsOf(native: Native, tensors: readonly tf.TensorInfo[], sizes: Sizes): [q: Rows, k: Rows, v: Rows] {
  const {size, heads, keyValueHeads} = sizes;
  const [first, k, v] = tensors as [tf.TensorInfo, tf.TensorInfo | undefined, tf.TensorInfo | undefined];
  const own = 4 * size * heads;
  const shared = 4 * size * keyValueHeads;
  const place = native.at(first);
  if (k === undefined || v === undefined) {
    const stride = own + 2 * shared;
    return [
      {place, stride},
      {place: place + own, stride},
      {place: place + own + shared, stride},
    ];
  }
  return [
    {place, stride: own},
    {place: native.at(k), stride: shared},
    {place: native.at(v), stride: shared},
  ];
}

function listOf(inputs: AttentionInputs): tf.Tensor[] {
  return 'packed' in inputs ? [inputs.packed] : [inputs.q, inputs.k, inputs.v];
}

/** The rows of one head in one example. */
function rowsOfHead({place, stride}: Rows, example: number, rows: number, head: number, size: number): Rows {
  return {place: place + example * rows * stride + 4 * head * size, stride};
}

/** Calls `f` with each head of the keys and values in each example. */
function forEachHead({batch, keyValueHeads}: Sizes, f: (example: number, shared: number) => void): void {
  for (let example = 0; example < batch; example++) {
    for (let shared = 0; shared < keyValueHeads; shared++) {
      f(example, shared);
    }
  }
}

/** Calls `f` with each block of queries of each head that looks at one head of keys. */
function forEachBlock(
  {heads, keyValueHeads, queries}: Sizes,
  shared: number,
  f: (head: number, from: number, rows: number, isFirst: boolean) => void,
): void {
  const group = heads / keyValueHeads;
  for (let head = shared * group; head < (shared + 1) * group; head++) {
    for (let from = 0; from < queries; from += QUERIES) {
      f(head, from, Math.min(QUERIES, queries - from), head === shared * group && from === 0);
    }
  }
}

/** How many keys the query at `from` sees; negative where it sees all. */
function aheadOf({queries, keys}: Sizes, causal: boolean, from: number): number {
  return causal ? Math.max(0, keys - queries + from + 1) : -1;
}

export function attend(
  native: Native,
  functions: TransformerFunctions,
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  {scale, causal, ...settings}: AttentionSettings,
): tf.TensorInfo {
  const sizes = attentionSizes(inputs, {scale, causal, ...settings});
  const {batch, queries, keys, size, heads} = sizes;
  const out = native.output([batch, queries, heads * size]);
  const [q, k, v] = rowsOf(native, listOf(inputs), sizes);
  const masks = native.at(mask);
  const y = {place: native.at(out), stride: 4 * heads * size};
  const {packColumns, packRows, multiply} = native.functions;
  const [scores, keyPanels, valuePanels] = native.reserve(
    ...[4 * Math.min(QUERIES, queries) * keys, panelBytes(size, keys), panelBytes(keys, size)],
  ) as [number, number, number];
  forEachHead(sizes, (example, shared) => {
    const [ownK, ownV] = [k, v].map(rows => rowsOfHead(rows, example, keys, shared, size)) as [Rows, Rows];
    packColumns(ownK.place, ownK.stride, size, keys, keyPanels, size * PANEL_ROW);
    packRows(ownV.place, ownV.stride, keys, size, valuePanels, keys * PANEL_ROW);
    forEachBlock(sizes, shared, (head, from, rows) => {
      const ownQ = rowsOfHead(q, example, queries, head, size);
      const ownY = rowsOfHead(y, example, queries, head, size);
      const left = ownQ.place + from * ownQ.stride;
      multiply(rows, keys, size, left, ownQ.stride, keyPanels, size * PANEL_ROW, scores, 4 * keys, ...PLAIN_PRODUCT);
      functions.softmaxRows(
        ...[scores, rows, keys, scale, masks && masks + 4 * example * keys, aheadOf(sizes, causal, from)],
      );
      const target = ownY.place + from * ownY.stride;
      multiply(
        ...[rows, size, keys, scores, 4 * keys, valuePanels, keys * PANEL_ROW, target, ownY.stride],
        ...PLAIN_PRODUCT,
      );
    });
  });
  return out;
}

export function attendGradient(
  native: Native,
  functions: TransformerFunctions,
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor,
  {scale, causal, ...settings}: AttentionSettings,
): tf.TensorInfo[] {
  const sizes = attentionSizes(inputs, {scale, causal, ...settings});
  const {queries, keys, size, heads} = sizes;
  const outs = listOf(inputs).map(({shape}) => native.output(shape));
  const [q, k, v] = rowsOf(native, listOf(inputs), sizes);
  const [dq, dk, dv] = rowsOf(native, outs, sizes);
  const masks = native.at(mask);
  const g = {place: native.at(dy), stride: 4 * heads * size};
  const {packColumns, packRows, multiply, transpose} = native.functions;
  const most = Math.min(QUERIES, queries);
  const scoreBytes = 4 * most * keys;
  const [scores, steps, turned, kColumns, vColumns, kRows, queryPanels, sums] = native.reserve(
    ...[scoreBytes, scoreBytes, scoreBytes],
    ...[panelBytes(size, keys), panelBytes(size, keys), panelBytes(keys, size), panelBytes(most, size)],
    4 * keys * size,
  ) as [number, number, number, number, number, number, number, number];

  /** `target = matrixᵀ · rows`, or added to it: `[rows, keys]ᵀ · [rows, size]`. */
  const collect = (matrix: number, {place, stride}: Rows, rows: number, target: Rows, isFirst: boolean) => {
    transpose(matrix, rows, keys, turned);
    packRows(place, stride, rows, size, queryPanels, rows * PANEL_ROW);
    const to = isFirst ? target : {place: sums, stride: 4 * size};
    multiply(
      ...[keys, size, rows, turned, 4 * rows, queryPanels, rows * PANEL_ROW, to.place, to.stride],
      ...PLAIN_PRODUCT,
    );
    if (!isFirst) {
      functions.addRows(sums, target.place, target.stride, keys, size);
    }
  };

  forEachHead(sizes, (example, shared) => {
    const [ownK, ownV, toK, toV] = [k, v, dk, dv].map(rows => rowsOfHead(rows, example, keys, shared, size)) as [
      Rows,
      Rows,
      Rows,
      Rows,
    ];
    packColumns(ownK.place, ownK.stride, size, keys, kColumns, size * PANEL_ROW);
    packColumns(ownV.place, ownV.stride, size, keys, vColumns, size * PANEL_ROW);
    packRows(ownK.place, ownK.stride, keys, size, kRows, keys * PANEL_ROW);
    forEachBlock(sizes, shared, (head, from, rows, isFirst) => {
      const [ownQ, ownG, toQ] = [q, g, dq].map(all => {
        const {place, stride} = rowsOfHead(all, example, queries, head, size);
        return {place: place + from * stride, stride};
      }) as [Rows, Rows, Rows];
      multiply(
        ...[rows, keys, size, ownQ.place, ownQ.stride, kColumns, size * PANEL_ROW, scores, 4 * keys],
        ...PLAIN_PRODUCT,
      );
      functions.softmaxRows(
        ...[scores, rows, keys, scale, masks && masks + 4 * example * keys, aheadOf(sizes, causal, from)],
      );
      multiply(
        ...[rows, keys, size, ownG.place, ownG.stride, vColumns, size * PANEL_ROW, steps, 4 * keys],
        ...PLAIN_PRODUCT,
      );
      collect(scores, ownG, rows, toV, isFirst);
      functions.softmaxGradient(scores, steps, rows, keys, scale);
      multiply(
        ...[rows, size, keys, steps, 4 * keys, kRows, keys * PANEL_ROW, toQ.place, toQ.stride],
        ...PLAIN_PRODUCT,
      );
      collect(steps, ownQ, rows, toK, isFirst);
    });
  });
  return outs;
}
