import type {Rules} from '../../onnx/layers/layers';
import type {Write} from '../../onnx/layers/call';
import {type GraphWriter, type Tensor} from '../../onnx/write/graphWriter';
import {Fraction, TYPE} from '../../onnx/write/messages';
import {Attention, type AttentionArgs} from '../layers/attention';
import {PositionEmbedding} from '../layers/addedEmbeddings';
import {ShortConvolution} from '../layers/shortConvolution';
import {anglesAt, frequenciesOf, type Rotary} from '../layers/rotaryAngles';

/** Added to the score of a key that is not seen. */
const UNSEEN = -1e9;

/**
 * Rules for the layers whose result depends on earlier positions: they take those from a cache.
 *
 * Queries and keys are rotated outside of `GroupQueryAttention`, by positions that begin behind the padding, and a bias
 * hides the padding: the operation itself knows only padding at the end.
 *
 * @param positions the longest text.
 * @param places the name of the input with the positions of the tokens.
 */
export function cachedRules(positions: number, places: string): Rules {
  let count = 0;
  const attention: Write = (out, call) => {
    const layer = call.fields<Required<AttentionArgs>>();
    const {heads, keyValueHeads, packed, causal, cache, rotary, window, softCap, bias} = layer;
    const index = count++;
    const mask = call.inputs[packed ? 1 : 3];
    if (!causal || cache || bias || mask === undefined) {
      out.refuse('Only causal attention with a mask, and without a bias, can be written with a cache.');
      return call.input;
    }
    if (rotary?.longer !== undefined) {
      out.refuse('Different angles for long texts (dynamic RoPE, LongRoPE) cannot be written with a cache.');
      return call.input;
    }
    const size = (call.input.shape[2] ?? 0) / (packed ? heads + 2 * keyValueHeads : heads);
    if (size % 8 !== 0) {
      out.refuse(`GroupQueryAttention takes heads of a multiple of 8 values, got ${size}.`);
      return call.input;
    }
    const sizes = [heads * size, keyValueHeads * size, keyValueHeads * size];
    const [q = '', k = '', v = ''] = packed
      ? out.nodeOf('Split', [out.plain(call.input), out.ints(sizes)], {axis: 2}, 3)
      : call.inputs.slice(0, 3).map(tensor => out.plain(tensor));
    const rotated = (x: string, number: number) =>
      rotary === null ? x : rotatedAt(out, x, rotary, {heads: number, size, positions, places});
    const [y = '', ...present] = out.nodeOf(
      'com.microsoft.GroupQueryAttention',
      [
        ...[rotated(q, heads), rotated(k, keyValueHeads), v],
        ...['key', 'value'].map(name => `past_key_values.${index}.${name}`),
        ...lengthsOf(out, mask),
        ...['', '', ''],
        biasOf(out, mask, out.plain(call.input), {heads, window}),
      ],
      {
        num_heads: heads,
        kv_num_heads: keyValueHeads,
        scale: new Fraction(layer.scale ?? 1 / Math.sqrt(size)),
        ...(softCap !== null && {softcap: new Fraction(softCap)}),
      },
      3,
    );
    ['key', 'value'].forEach((name, i) => {
      out.rename(present[i] ?? '', `present.${index}.${name}`);
    });
    return call.output(y);
  };
  const positionEmbedding: Write = (out, call) => {
    const {offset} = call.settings<{offset: number}>();
    const rows =
      offset === 0 ? places : out.once(`rows ${offset}`, () => out.node('Add', [places, out.ints([offset])]));
    const table = out.weight('embeddings', call.weight('embeddings'));
    return call.output(out.node('Add', [out.plain(call.input), out.node('Gather', [table, rows])]));
  };
  const shortConvolution: Write = (out, call) => {
    const {taps, useBias, hides} = call.settings<{taps: number; useBias: boolean; hides: boolean}>();
    const index = count++;
    const [packed, mask] = call.inputs;
    if (packed === undefined || mask === undefined || useBias || !hides) {
      out.refuse('Only a short convolution with a mask, and without a bias, can be written with a cache.');
      return call.input;
    }
    const width = (packed.shape[2] ?? 0) / 3;
    const x = out.plain(packed);
    const sizes = out.ints([width, width, width]);
    const [before = '', after = '', values = ''] = out.nodeOf('Split', [x, sizes], {axis: 2}, 3);
    const product = out.node('Mul', [out.node('Mul', [before, values]), shownOf(out, mask, x)]);
    const channels = (y: string) => out.node('Transpose', [y], {perm: [0, 2, 1]});
    const all = out.node('Concat', [`past_conv.${index}`, channels(product)], {axis: 2});
    const from = (start: number) =>
      out.node('Slice', [all, out.ints([start]), out.ints([Number.MAX_SAFE_INTEGER]), out.ints([2])]);
    out.rename(from(-taps), `present_conv.${index}`);
    const kernel = out.weight('kernel', call.weight('kernel'), {perm: [2, 1, 0]});
    const y = out.node('Conv', [from(1), kernel], {group: width, kernel_shape: [taps]});
    return call.output(out.node('Mul', [after, channels(y)]));
  };
  return {
    [Attention.className]: attention,
    [PositionEmbedding.className]: positionEmbedding,
    [ShortConvolution.className]: shortConvolution,
  };
}

/** Queries or keys whose pairs are rotated by the angles of their positions, which tables have. */
function rotatedAt(
  out: GraphWriter,
  x: string,
  rotary: Rotary,
  {heads, size, positions, places}: {heads: number; size: number; positions: number; places: string},
): string {
  const {interleaved = false, scale = 1} = rotary;
  const frequencies = frequenciesOf(rotary, size);
  const half = frequencies.length;
  const table = (name: 'cosines' | 'sines') =>
    out.once(`${name} ${frequencies.join()} ${scale}`, () => {
      // transformers.js counts the positions of Gemma 3 from 1.
      const rows = positions + 1;
      const read = () => {
        const values = new Float32Array(rows * half);
        for (let position = 0; position < rows; position++) {
          values.set(anglesAt(position, frequencies, {scale})[name], position * half);
        }
        return Promise.resolve(new Uint8Array(values.buffer));
      };
      return out.constant(TYPE.float, [rows, half], {length: 4 * rows * half, read}, name);
    });
  return out.node('com.microsoft.RotaryEmbedding', [x, places, table('cosines'), table('sines')], {
    interleaved: Number(interleaved),
    num_heads: heads,
    rotary_embedding_dim: 2 * half === size ? 0 : 2 * half,
  });
}

/** The lengths that the operation takes: of each text less one, and of the longest. All are those of the mask. */
function lengthsOf(out: GraphWriter, mask: Tensor): [lengths: string, longest: string] {
  const name = out.plain(mask);
  const [batch, length] = [out.sizeOf(name, 0), out.sizeOf(name, 1)];
  return [
    out.once(`lengths ${name}`, () =>
      out.cast(out.node('Expand', [out.node('Sub', [length, out.ints([1])]), batch]), TYPE.int32),
    ),
    out.once(`longest ${name}`, () => out.cast(out.squeeze(length, [0]), TYPE.int32)),
  ];
}

/** 1 for the new tokens, and 0 for padding among them: `[batch, positions, 1]`. */
function shownOf(out: GraphWriter, mask: Tensor, input: string): string {
  const name = out.plain(mask);
  return out.once(`shown ${name}`, () => {
    const [positions, length] = [out.sizeOf(input, 1), out.sizeOf(name, 1)];
    const first = out.node('Sub', [length, positions]);
    return out.unsqueeze(out.node('Slice', [out.shown(mask), first, length, out.ints([1])]), [2]);
  });
}

/** What hides padding, and keys that are farther away than a window: `[batch, heads, queries, keys]`. */
function biasOf(
  out: GraphWriter,
  mask: Tensor,
  input: string,
  {heads, window}: {heads: number; window: number | null},
): string {
  const name = out.plain(mask);
  return out.once(`bias ${name} ${heads} ${window}`, () => {
    const hidden = out.node('Mul', [out.node('Sub', [out.float(1), out.shown(mask)]), out.float(UNSEEN)]);
    const ofKeys = out.unsqueeze(hidden, [1, 2]);
    const [queries, keys] = [out.sizeOf(input, 1), out.sizeOf(name, 1)];
    const shape = out.node('Concat', [out.ints([1, heads]), queries, out.ints([1])], {axis: 0});
    const all = out.node('Expand', [ofKeys, shape]);
    if (window === null) {
      return all;
    }
    const order = out.positions(keys);
    const first = out.node('Sub', [keys, queries]);
    const ofQueries = out.unsqueeze(out.node('Add', [out.positions(queries), first]), [1]);
    const isNear = out.node('Less', [out.node('Sub', [ofQueries, order]), out.ints([window], [])]);
    const far = out.node('Sub', [out.float(1), out.cast(isNear, TYPE.float)]);
    return out.node('Add', [all, out.node('Mul', [far, out.float(UNSEEN)])]);
  });
}
