import {range} from '../lower/lowering';
import type {GraphWriter, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';
import type {Write} from './call';

/** The fields of an `Attention` of `tfjs-lora/transformers`. */
interface AttentionLayer {
  heads: number;
  keyValueHeads: number;
  causal: boolean;
  window: number | null;
  packed: boolean;
  cache: boolean;
  rotary: RotaryFields | null;
  scale: number | null;
  softCap: number | null;
  bias: boolean;
}

interface RotaryFields {
  base?: number;
  frequencies?: number[];
  interleaved?: boolean;
  scale?: number;
  longer?: object;
}

/** Added to the score of a masked key. */
const UNSEEN = -3e4;

/** `softmax(cap(scale·q·kᵀ) + bias)·v` by heads. A query without keys gets zeros. */
export const attention: Write = (out, call) => {
  const layer = call.fields<AttentionLayer>();
  const {heads, keyValueHeads, packed, cache, rotary, bias: hasBias} = layer;
  if (cache || (hasBias && heads !== keyValueHeads)) {
    out.refuse('Cached keys and values, or shared ones with a bias, cannot be written.');
  }
  if (rotary?.longer !== undefined) {
    out.refuse('Different angles for long texts (dynamic RoPE) cannot be written.');
  }
  const inputs = hasBias ? call.inputs.slice(0, -1) : call.inputs;
  const stateCount = packed ? 1 : 3;
  const size = (call.input.shape[2] ?? 0) / (packed ? heads + 2 * keyValueHeads : heads);
  const sizes = [heads * size, keyValueHeads * size, keyValueHeads * size];
  const parts = packed
    ? out.nodeOf('Split', [out.plain(call.input), out.ints(sizes)], {axis: 2}, 3)
    : inputs.slice(0, 3).map(tensor => out.plain(tensor));
  const [q = '', k = '', v = ''] = parts;
  const group = heads / keyValueHeads;
  const [rotatedQ, rotatedK] = [rotated(out, q, heads, size, rotary), rotated(out, k, keyValueHeads, size, rotary)];
  // Query heads that share keys are an extra axis, over which keys and values are broadcast.
  const byHead = (x: string, parted: number, perm: readonly number[]) => {
    const shape = group === 1 ? [0, 0, keyValueHeads, size] : [0, 0, keyValueHeads, parted, size];
    return out.node('Transpose', [out.reshape(x, shape)], {perm});
  };
  const rows = group === 1 ? [0, 2, 1, 3] : [0, 2, 3, 1, 4];
  const columns = group === 1 ? [0, 2, 3, 1] : [0, 2, 3, 4, 1];
  const scale = out.float(layer.scale ?? 1 / Math.sqrt(size));
  const queries = out.node('Mul', [byHead(rotatedQ, group, rows), scale]);
  const products = out.node('MatMul', [queries, byHead(rotatedK, 1, columns)]);
  const capped = layer.softCap === null ? products : softCapped(out, products, layer.softCap);
  const added = hasBias ? out.node('Add', [capped, out.plain(call.inputs.at(-1) as Tensor)]) : capped;
  const seen = visibility(out, inputs[stateCount], {q, k}, layer);
  const withGroups = (x: string) => (group === 1 ? x : out.once(`grouped ${x}`, () => out.unsqueeze(x, [1])));
  const hidden =
    seen &&
    out.once(`hidden ${seen}`, () => out.node('Mul', [out.node('Sub', [out.float(1), seen]), out.float(UNSEEN)]));
  const scores = hidden === undefined ? added : out.node('Add', [added, withGroups(hidden)]);
  const weights = out.node('Softmax', [scores], {axis: -1});
  const y = out.node('MatMul', [weights, byHead(v, 1, rows)]);
  const any = seen && out.once(`any ${seen}`, () => out.reduce('ReduceMax', seen, [3], true));
  const shown = any === undefined ? y : out.node('Mul', [y, withGroups(any)]);
  const together = out.node('Transpose', [shown], {perm: group === 1 ? [0, 2, 1, 3] : [0, 3, 1, 2, 4]});
  return call.output(out.reshape(together, [0, 0, heads * size]));
};

/** `cap·tanh(x / cap)` */
function softCapped(out: GraphWriter, x: string, cap: number): string {
  return out.node('Mul', [out.node('Tanh', [out.node('Div', [x, out.float(cap)])]), out.float(cap)]);
}

/** Queries or keys rotated by angles whose cosines and sines another layer gives. */
export function rotatedByAngles(out: GraphWriter, x: string, angles: string, heads: number, size: number): string {
  const table = (index: number) =>
    out.once(`${index} of ${angles}`, () => out.unsqueeze(out.slice(angles, 0, index, index + 1), [2]));
  const tables = [table(0), table(1)] as const;
  return rotatedBy(out, x, {heads, size, half: size / 2, interleaved: false}, tables);
}

/** The keys that queries attend to: 1 or 0, `[batch or 1, 1, queries or 1, keys]`; `undefined` for all. */
function visibility(
  out: GraphWriter,
  mask: Tensor | undefined,
  {q, k}: {q: string; k: string},
  {causal, window}: Pick<AttentionLayer, 'causal' | 'window'>,
): string | undefined {
  const ofMask = mask && out.once(`visible ${out.plain(mask)}`, () => out.unsqueeze(out.shown(mask), [1, 2]));
  if (!causal && window === null) {
    return ofMask;
  }
  // The same for each layer: the sizes are those of the mask, if there is one.
  const [queries, keys] = [q, k].map(x => out.sizeOf(mask === undefined ? x : out.plain(mask), 1)) as [string, string];
  const ofOrder = out.once(`order ${queries} ${keys} ${causal} ${window}`, () => {
    const distances = out.node('Sub', [out.positions(keys), out.unsqueeze(out.positions(queries), [1])]);
    const behind = window === null ? [] : [out.node('Less', [out.node('Neg', [distances]), out.ints([window], [])])];
    const reach = causal ? 1 : window;
    const ahead = reach === null ? [] : [out.node('Less', [distances, out.ints([reach], [])])];
    const near = [...behind, ...ahead].reduce((one, other) => out.node('And', [one, other]));
    return out.unsqueeze(out.cast(near, TYPE.float), [0, 1]);
  });
  return ofMask === undefined
    ? ofOrder
    : out.once(`${ofMask} and ${ofOrder}`, () => out.node('Mul', [ofMask, ofOrder]));
}

/** Queries or keys whose pairs of values are rotated by the angles of their positions. */
function rotated(out: GraphWriter, x: string, heads: number, size: number, rotary: RotaryFields | null): string {
  if (rotary === null) {
    return x;
  }
  const {interleaved = false, scale = 1} = rotary;
  const frequencies = frequenciesOf(rotary, size);
  const half = frequencies.length;
  const axes = frequencies.join();
  const positions = out.sizeOf(x, 1);
  const angles = out.once(`angles ${axes} ${positions}`, () => {
    const places = out.cast(out.positions(positions), TYPE.float);
    return out.node('Mul', [out.unsqueeze(places, [1]), out.floats(frequencies, [1, half])]);
  });
  const table = (op: string) =>
    out.once(`${op} ${angles} ${scale}`, () => {
      const values = out.unsqueeze(out.node(op, [angles]), [1]); // [positions, 1, half]
      return scale === 1 ? values : out.node('Mul', [values, out.float(scale)]);
    });
  return rotatedBy(out, x, {heads, size, half, interleaved}, [table('Cos'), table('Sin')]);
}

/** Rotates the first pairs of values of each head by angles whose cosines and sines are `[…, positions, 1, half]`. */
function rotatedBy(
  out: GraphWriter,
  x: string,
  {heads, size, half, interleaved}: {heads: number; size: number; half: number; interleaved: boolean},
  [cosines, sines]: readonly [string, string],
): string {
  const byHead = out.reshape(x, [0, 0, heads, size]);
  const halfOf = (first: number) =>
    interleaved ? out.slice(byHead, 3, first, 2 * half, 2) : out.slice(byHead, 3, first * half, (first + 1) * half);
  const [a, b] = [halfOf(0), halfOf(1)];
  const times = (one: string, other: string) => out.node('Mul', [one, other]);
  const ends = [
    out.node('Sub', [times(a, cosines), times(b, sines)]),
    out.node('Add', [times(b, cosines), times(a, sines)]),
  ];
  const pairs = interleaved
    ? out.reshape(
        out.node(
          'Concat',
          ends.map(end => out.unsqueeze(end, [4])),
          {axis: 4},
        ),
        [0, 0, heads, 2 * half],
      )
    : out.node('Concat', ends, {axis: 3});
  const rotated =
    2 * half === size ? pairs : out.node('Concat', [pairs, out.slice(byHead, 3, 2 * half, size)], {axis: 3});
  return out.reshape(rotated, [0, 0, heads * size]);
}

/** The angles of the pairs at position 1, as the layer has them. */
function frequenciesOf({base = 10_000, frequencies}: RotaryFields, size: number): number[] {
  const {fround} = Math;
  return (frequencies ?? range(Math.ceil(size / 2)).map(j => 1 / fround(base ** ((2 * j) / size)))).map(fround);
}
