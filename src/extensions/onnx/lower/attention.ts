import type {Rule} from './activations';
import {cast} from './elementwise';
import {LOWEST_FLOAT} from './pools';
import {positionsBelow} from './indices';
import {range} from './lowering';
import {attribute, type ShapeEntry, type OnnxCall} from './onnxCall';

// Operations that compute attention as a whole. Queries, keys and values are `[batch, heads, length, headWidth]` here.

const HEADS_BEFORE_LENGTH = [0, 2, 1, 3];

/** The inputs of attention. */
interface Heads {
  q: string;
  k: string;
  v: string;
  /** The number of query heads, and of key and value heads. */
  heads: number;
  kvHeads: number;
  scale: number | undefined;
  /** Added to the scores. */
  biases: readonly string[];
  /** Booleans that broadcast to the scores: true where a query may attend to a key. */
  masks: readonly string[];
  softcap: number;
}

/** `softmax(q·kᵀ·scale + biases)·v` for each head. The soft cap is applied before the biases. */
async function attendHeads(
  call: OnnxCall,
  {q, k, v, heads, kvHeads, scale, biases, masks, softcap}: Heads,
): Promise<string> {
  const width = sizeAt(call, q, 3);
  const factor = call.scalar(scale ?? 1 / Math.sqrt(width));
  const [keys, values] = [await repeatHeads(call, k, heads / kvHeads), await repeatHeads(call, v, heads / kvHeads)];
  const transposedKeys = await call.emit('Transpose', [keys, call.constant([0, 1, 3, 2])]);
  let scores = await call.emit('BatchMatMulV2', [await call.emit('Mul', [q, factor]), transposedKeys]);
  if (softcap > 0) {
    const inner = await call.emit('Tanh', [await call.emit('RealDiv', [scores, call.scalar(softcap)])]);
    scores = await call.emit('Mul', [inner, call.scalar(softcap)]);
  }
  for (const bias of biases) {
    scores = await call.emit('AddV2', [scores, bias]);
  }
  for (const mask of masks) {
    scores = await call.emit('SelectV2', [mask, scores, call.scalar(LOWEST_FLOAT)]);
  }
  return call.emit('BatchMatMulV2', [await call.emit('Softmax', [scores]), values]);
}

function sizeAt(call: OnnxCall, key: string, axis: number): number {
  const size = call.sizeOf(key, axis);
  return size ?? call.refuse(`The node has a dynamic axis ${axis}.`);
}

/** Repeats each key or value head for `times` consecutive query heads. */
async function repeatHeads(call: OnnxCall, key: string, times: number): Promise<string> {
  if (times === 1) {
    return key;
  }
  if (!Number.isInteger(times)) {
    call.refuse('The node has a number of query heads that is not a multiple of its key heads.');
  }
  const [batch, length] = [await call.sizeEntryOf(key, 0), await call.sizeEntryOf(key, 2)];
  const [heads, width] = [sizeAt(call, key, 1), sizeAt(call, key, 3)];
  const wide = await call.emit('ExpandDims', [key, call.scalar(2, 'int32')]);
  const tiled = await call.emit('Tile', [wide, call.constant([1, 1, times, 1, 1])]);
  return call.reshaped(tiled, [batch, heads * times, length, width]);
}

/** `[batch, length, heads · width]` → `[batch, heads, length, width]`. */
async function toHeads(call: OnnxCall, key: string, heads: number): Promise<string> {
  const width = sizeAt(call, key, 2) / heads;
  if (!Number.isInteger(width)) {
    call.refuse(`The node has a width that is not a multiple of its ${heads} heads.`);
  }
  const parts = await call.reshaped(key, [
    await call.sizeEntryOf(key, 0),
    await call.sizeEntryOf(key, 1),
    heads,
    width,
  ]);
  return call.emit('Transpose', [parts, call.constant(HEADS_BEFORE_LENGTH)]);
}

/** `[batch, heads, length, width]` → `[batch, length, heads · width]`. */
async function fromHeads(call: OnnxCall, key: string): Promise<string> {
  const turned = await call.emit('Transpose', [key, call.constant(HEADS_BEFORE_LENGTH)]);
  const width = sizeAt(call, turned, 2) * sizeAt(call, turned, 3);
  return call.reshaped(turned, [await call.sizeEntryOf(turned, 0), await call.sizeEntryOf(turned, 1), width]);
}

/** True where a key is not after its query, and within `window` keys before it: `[queries, keys]`. */
async function causalMask(call: OnnxCall, q: string, k: string, window = -1): Promise<string> {
  const indicesOf = async (key: string) => positionsBelow(call, await call.sizeEntryOf(key, 2));
  const rows = await call.emit('ExpandDims', [await indicesOf(q), call.scalar(1, 'int32')]);
  const columns = await indicesOf(k);
  const isBefore = await call.emit('LessEqual', [columns, rows]);
  if (window <= 0) {
    return isBefore;
  }
  const isInWindow = await call.emit('Greater', [
    columns,
    await call.emit('Sub', [rows, call.scalar(window, 'int32')]),
  ]);
  return call.emit('LogicalAnd', [isBefore, isInWindow]);
}

/** A mask input `[batch, keys]`, `[batch, queries, keys]` or with heads, as booleans of four axes. */
async function keyMask(call: OnnxCall, index: number): Promise<string> {
  const mask = await call.input(index);
  const axes = {2: [1, 1], 3: [1], 4: []}[call.rank(index)];
  let wide = call.dtype(index) === 'bool' ? mask : await cast(call, mask, 'DT_BOOL');
  for (const axis of axes ?? call.refuse(`The node takes a mask of ${call.rank(index)} axes.`)) {
    wide = await call.emit('ExpandDims', [wide, call.scalar(axis, 'int32')]);
  }
  return wide;
}

/** Adds to a tensor the slice of a bias input that begins at `from`. */
async function withBias(call: OnnxCall, key: string, index: number, from: number): Promise<string> {
  if (!call.has(index)) {
    return key;
  }
  const bounds = [call.constant([from]), call.constant([sizeAt(call, key, 2)])];
  return call.emit('AddV2', [key, await call.emit('Slice', [await call.input(index), ...bounds])]);
}

function refuseCaches(call: OnnxCall, inputs: Readonly<Record<number, string>>, outputs: number): void {
  const faults = Object.entries(inputs).filter(([index]) => call.has(Number(index)));
  if (faults.length > 0) {
    call.refuse(`The node takes ${faults.map(([, what]) => what).join(', ')}.`);
  }
  if (call.planner.keysOf(call.node).length > outputs) {
    call.refuse('The node returns more than its result, such as keys for a cache.');
  }
}

function nonZeroScale(call: OnnxCall): number | undefined {
  const scale = call.float('scale', 0);
  return scale === 0 ? undefined : scale;
}

/** Attention of the ONNX standard, opset 23. */
export const attention: Rule = async call => {
  refuseCaches(call, {4: 'a cache of keys', 5: 'a cache of values', 6: 'lengths of keys'}, 1);
  if (call.int('left_window_size', -1) >= 0 || call.int('right_window_size', -1) >= 0) {
    call.refuse('The node attends within a window.');
  }
  const isSplit = call.rank(0) === 4;
  const [heads, kvHeads] = isSplit
    ? [call.size(0, 1) ?? 1, call.size(1, 1) ?? 1]
    : [call.int('q_num_heads', 1), call.int('kv_num_heads', 1)];
  const take = async (index: number, count: number) =>
    isSplit ? call.input(index) : toHeads(call, await call.input(index), count);
  const [q, k, v] = [await take(0, heads), await take(1, kvHeads), await take(2, kvHeads)];
  const isBool = call.has(3) && call.dtype(3) === 'bool';
  const mask = call.has(3) ? [await call.input(3)] : [];
  const result = await attendHeads(call, {
    ...{q, k, v, heads, kvHeads, scale: nonZeroScale(call), softcap: call.float('softcap', 0)},
    biases: isBool ? [] : mask,
    masks: [...(isBool ? mask : []), ...(call.int('is_causal', 0) === 1 ? [await causalMask(call, q, k)] : [])],
  });
  call.setOutput(isSplit ? result : await fromHeads(call, result));
};

/** Attention of com.microsoft, which includes the projection to queries, keys and values. */
export const attentionOfInput: Rule = async call => {
  refuseCaches(call, {4: 'a cache', 6: 'a length of a cache'}, 1);
  if (call.int('do_rotary', 0) !== 0) {
    call.refuse('The node rotates positions.');
  }
  const heads = call.int('num_heads', 1);
  const total = call.size(1, 1) ?? 0;
  const sizes = call.ints('qkv_hidden_sizes') ?? [total / 3, total / 3, total / 3];
  const kernel = call.lowering.weight(call.node.name, 1) ?? call.refuse('The node needs constant weights.');
  const bias = call.bias(2);
  call.floats();
  const config = {units: total, useBias: bias !== undefined, activation: 'linear'};
  const all = call.layer('Dense', config, [await call.input()], {kernel, bias});
  const parts = await call.emit('SplitV', [all, call.constant(sizes), call.scalar(2, 'int32')], {}, 3);
  const [q = '', k = '', v = ''] = await Promise.all(range(3).map(i => toHeads(call, `${parts}:${i}`, heads)));
  await attendMasked(call, {q, k, v, heads}, 3);
};

/** MultiHeadAttention of com.microsoft: queries, keys and values are `[batch, length, width]`. */
export const multiHeadAttention: Rule = async call => {
  refuseCaches(call, {6: 'a cache of keys', 7: 'a cache of values', 8: 'a length of a cache', 9: 'a cache'}, 1);
  if (call.rank(0) !== 3 || !call.has(1) || !call.has(2)) {
    call.refuse('The node takes queries, keys and values in one tensor.');
  }
  const heads = call.int('num_heads', 1);
  const width = call.size(0, 2) ?? call.refuse('The node has a dynamic width.');
  const take = async (index: number) =>
    call.rank(index) === 4
      ? call.input(index)
      : toHeads(call, await withBias(call, await call.input(index), 3, index * width), heads);
  const [q, k, v] = [await take(0), await take(1), await take(2)];
  await attendMasked(call, {q, k, v, heads}, 4);
};

/** Attention of com.microsoft with as many key heads as query heads. `mask` is the index of the mask input. */
async function attendMasked(
  call: OnnxCall,
  {q, k, v, heads}: {q: string; k: string; v: string; heads: number},
  mask: number,
): Promise<void> {
  const result = await attendHeads(call, {
    ...{q, k, v, heads, kvHeads: heads, scale: nonZeroScale(call), softcap: 0},
    biases: call.has(5) ? [await call.input(5)] : [],
    masks: [
      ...(call.has(mask) ? [await keyMask(call, mask)] : []),
      ...(call.int('unidirectional', 0) === 1 ? [await causalMask(call, q, k)] : []),
    ],
  });
  call.setOutput(await fromHeads(call, result));
}

/** GroupQueryAttention of com.microsoft, which is always causal. */
export const groupQueryAttention: Rule = async call => {
  refuseCaches(call, {3: 'a cache of keys', 4: 'a cache of values', 11: 'sinks'}, 1);
  if (!call.has(1) || !call.has(2)) {
    call.refuse('The node takes queries, keys and values in one tensor.');
  }
  const types = ['k_quant_type', 'v_quant_type'].map(name => call.text(name, 'NONE'));
  if (call.int('smooth_softmax', 0) !== 0 || types.some(type => type !== 'NONE')) {
    call.refuse('The node has smooth_softmax, or quantized keys or values.');
  }
  const [heads, kvHeads] = [call.int('num_heads', 1), call.int('kv_num_heads', 1)];
  const isRotary = call.int('do_rotary', 0) === 1;
  const isInterleaved = call.int('rotary_interleaved', 0) === 1;
  const take = async (index: number, count: number) => {
    const parts = await toHeads(call, await call.input(index), count);
    const caches = {cos: await call.input(7), sin: await call.input(8)};
    const positions = call.has(9) ? await call.input(9) : undefined;
    return isRotary && index < 2 ? rotateHeads(call, parts, {...caches, positions, isInterleaved}) : parts;
  };
  const [q, k, v] = [await take(0, heads), await take(1, kvHeads), await take(2, kvHeads)];
  const result = await attendHeads(call, {
    ...{q, k, v, heads, kvHeads, scale: nonZeroScale(call), softcap: call.float('softcap', 0)},
    biases: call.has(10) ? [await call.input(10)] : [],
    masks: [await causalMask(call, q, k, call.int('local_window_size', -1))],
  });
  call.setOutput(await fromHeads(call, result));
};

interface Rotation {
  /** `[positions, rotatedWidth / 2]`, or `[batch, length, rotatedWidth / 2]` with a row for each token. */
  cos: string;
  sin: string;
  /** `undefined`: positions count from 0, or the caches have a row for each token. */
  positions: string | undefined;
  isInterleaved: boolean;
}

/** Applies a rotary position embedding to heads: rotates pairs of values by an angle for each position. */
async function rotateHeads(call: OnnxCall, x: string, {cos, sin, positions, isInterleaved}: Rotation): Promise<string> {
  const length = await call.sizeEntryOf(x, 2);
  // A row for each token, with an axis for the heads.
  const rows = async (cache: string) => {
    const taken =
      positions !== undefined
        ? await call.emit('GatherV2', [cache, positions, call.scalar(0, 'int32')])
        : call.rankOf(cache) === 3
          ? cache
          : await call.emit('StridedSlice', [
              cache,
              call.constant([0]),
              await call.vector([length]),
              call.constant([1]),
            ]);
    return call.rankOf(taken) === 3 ? call.emit('ExpandDims', [taken, call.scalar(1, 'int32')]) : taken;
  };
  const [c, s] = [await rows(cos), await rows(sin)];
  const half = sizeAt(call, c, call.rankOf(c) - 1);
  const [heads, width] = [sizeAt(call, x, 1), sizeAt(call, x, 3)];
  const cut = async (from: string, sizes: readonly number[], axis: number) =>
    call.emit('SplitV', [from, call.constant(sizes), call.scalar(axis, 'int32')], {}, sizes.length);
  const unrotatedWidth = width - 2 * half;
  const splitWidth = unrotatedWidth > 0 ? await cut(x, [2 * half, unrotatedWidth], 3) : undefined;
  const rotatedPart = splitWidth === undefined ? x : `${splitWidth}:0`;
  const shape: ShapeEntry[] = [await call.sizeEntryOf(x, 0), heads, length];
  const pairs = isInterleaved ? await call.reshaped(rotatedPart, [...shape, half, 2]) : undefined;
  const parts = pairs === undefined ? await cut(rotatedPart, [half, half], 3) : await cut(pairs, [1, 1], 4);
  const halfOf = async (i: number) =>
    pairs === undefined
      ? `${parts}:${i}`
      : call.emit('Squeeze', [`${parts}:${i}`], {squeeze_dims: attribute.ints([4])});
  const [a, b] = [await halfOf(0), await halfOf(1)];
  const product = (one: string, other: string) => call.emit('Mul', [one, other]);
  const first = await call.emit('Sub', [await product(a, c), await product(b, s)]);
  const second = await call.emit('AddV2', [await product(a, s), await product(b, c)]);
  const rotated = isInterleaved
    ? await call.reshaped(await call.emit('Pack', [first, second], {axis: attribute.int(4), N: attribute.int(2)}), [
        ...shape,
        2 * half,
      ])
    : await call.emit('ConcatV2', [first, second, call.scalar(3, 'int32')]);
  return splitWidth === undefined
    ? rotated
    : call.emit('ConcatV2', [rotated, `${splitWidth}:1`, call.scalar(3, 'int32')]);
}

/** @param inputs the indices of the inputs for positions, cosines and sines. */
export function rotary(inputs: {positions: number; cos: number; sin: number}): Rule {
  return async call => {
    if (call.int('is_packed_batching', 0) !== 0 || call.float('scale', 1) !== 1) {
      call.refuse('The node has is_packed_batching or a scale.');
    }
    const isSplit = call.rank(0) === 4;
    const [cos, sin] = [await call.input(inputs.cos), await call.input(inputs.sin)];
    const heads = call.int('num_heads', 0);
    const headCount =
      heads > 0 ? heads : sizeAt(call, await call.input(), 2) / (2 * sizeAt(call, cos, call.rankOf(cos) - 1));
    const x = isSplit ? await call.input() : await toHeads(call, await call.input(), headCount);
    const isPlain = !call.has(inputs.positions) || call.numbers(inputs.positions)?.join() === '0';
    if (!isPlain && call.rank(inputs.positions) < 2) {
      call.refuse('The node needs a constant start position.');
    }
    const positions = isPlain ? undefined : await call.input(inputs.positions);
    const isInterleaved = call.int('interleaved', 0) === 1;
    const result = await rotateHeads(call, x, {cos, sin, positions, isInterleaved});
    call.setOutput(isSplit ? result : await fromHeads(call, result));
  };
}
