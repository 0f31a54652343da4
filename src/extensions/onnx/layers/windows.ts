import type * as tf from '@tensorflow/tfjs';
import type {FormulaLayer} from '../../../core/layers/formulaLayer';
import {range} from '../lower/lowering';
import {channelsFirst, type GraphWriter, Tensor} from '../write/graphWriter';
import {type Attributes, Fraction, TYPE} from '../write/messages';
import type {Write} from './call';

// Layers of windows of features of `tfjs-lora/transformers`, `[batch, height, width, channels]`. Heights and widths may
// be known only when the file runs.

/** The version of operations in which `Resize` takes means. */
export const OPSET_OF_MEANS = 18;

/** Whether a layer needs that version. */
export function takesMeans(layer: tf.layers.Layer): boolean {
  const {settings} = layer as Partial<FormulaLayer<{antialias?: boolean}>>;
  return layer.getClassName().endsWith('>PatchSequence') && settings?.antialias === true;
}

/** Sizes along axes: numbers, or the names of lists of one number. */
export function joinSizes(out: GraphWriter, parts: readonly (number | string)[]): string {
  return out.node(
    'Concat',
    parts.map(size => (typeof size === 'number' ? out.ints([size]) : size)),
    {axis: 0},
  );
}

export function reshapeTo(out: GraphWriter, x: string, parts: readonly (number | string)[]): string {
  return parts.every(size => typeof size === 'number')
    ? out.reshape(x, parts)
    : out.node('Reshape', [x, joinSizes(out, parts)]);
}

/** How many pieces of a size cover an axis. */
export function piecesOf(out: GraphWriter, size: string, piece: number): string {
  return out.once(`pieces ${size} ${piece}`, () =>
    out.node('Div', [out.node('Add', [size, out.ints([piece - 1])]), out.ints([piece])]),
  );
}

export function scaledSize(out: GraphWriter, size: string, factor: number): string {
  return out.once(`times ${size} ${factor}`, () => out.node('Mul', [size, out.ints([factor])]));
}

/** `factor` if the smaller of two sizes is larger than a number, else 0. */
export function ifLarger(out: GraphWriter, sizes: readonly [string, string], than: number, factor: number): string {
  return out.once(`larger ${sizes.join(' ')} ${than} ${factor}`, () => {
    const isLarger = out.node('Greater', [out.node('Min', sizes), out.ints([than])]);
    return scaledSize(out, out.cast(isLarger, TYPE.int64), factor);
  });
}

/** Adds zeros below and to the right, to multiples of an edge. */
export function paddedToPieces(out: GraphWriter, x: string, edges: readonly [number, number]): string {
  const more = edges.map((edge, i) => {
    const size = out.sizeOf(x, i + 1);
    return out.node('Sub', [scaledSize(out, piecesOf(out, size, edge), edge), size]);
  });
  return out.node('Pad', [x, joinSizes(out, [0, 0, 0, 0, 0, ...more, 0])]);
}

/** Moves rows and columns up and left, around the edges; if `back`, down and right. */
export function rolled(out: GraphWriter, x: string, count: string | number, back: boolean): string {
  if (count === 0) {
    return x;
  }
  const by = typeof count === 'number' ? out.ints([back ? -count : count]) : back ? out.node('Neg', [count]) : count;
  const end = out.ints([2 ** 31 - 1]);
  const parts = (y: string, axis: number): string => {
    const [before, after] = [
      [out.ints([0]), by],
      [by, end],
    ].map(([from = '', to = '']) => out.node('Slice', [y, from, to, out.ints([axis])])) as [string, string];
    return out.node('Concat', [after, before], {axis});
  };
  return parts(parts(x, 1), 2);
}

/** Features of whole windows as windows, `[batch·windows, size², channels]`. */
function cut(
  out: GraphWriter,
  x: string,
  {size, columns, channels}: {size: number; columns: string; channels: number},
) {
  const rows = reshapeTo(out, x, [-1, size, columns, size * channels]);
  return out.reshape(out.node('Transpose', [rows], {perm: [0, 2, 1, 3]}), [-1, size * size, channels]);
}

/** The first rows and columns, as many as other features have. */
export function croppedLike(out: GraphWriter, x: string, features: string): string {
  const sizes = [out.sizeOf(features, 1), out.sizeOf(features, 2)];
  return out.node('Slice', [x, out.ints([0, 0]), joinSizes(out, sizes), out.ints([1, 2])]);
}

const LINEAR = {mode: 'linear', coordinate_transformation_mode: 'half_pixel'};

/** Features resized to a height and a width. */
export function resizedTo(out: GraphWriter, features: Tensor | string, sizes: readonly [string, string]): Tensor {
  const shape = new Array<null>(4).fill(null);
  const order = channelsFirst(4);
  const x = out.held(features instanceof Tensor ? features : new Tensor(shape, TYPE.float, features), order);
  return new Tensor(shape, TYPE.float, resizedImage(out, x, sizes, LINEAR), order);
}

function resizedImage(out: GraphWriter, x: string, sizes: readonly [string, string], attributes: Attributes): string {
  const outer = out.slice(out.node('Shape', [x]), 0, 0, 2);
  return out.node('Resize', [x, '', '', joinSizes(out, [outer, ...sizes])], attributes);
}

/** A table with a row for each place of a grid, `[rows·columns, width]`, resized to another grid. */
export function resizedTable(
  out: GraphWriter,
  table: string,
  [rows, columns]: readonly [number, number],
  sizes: readonly [string, string],
  method: 'linear' | 'cubic' | 'antialiased',
): string {
  const byChannel = out.node('Transpose', [out.reshape(table, [rows, columns, -1])], {perm: [2, 0, 1]});
  const cubic = {
    mode: 'cubic',
    coordinate_transformation_mode: 'half_pixel',
    // As PyTorch does it, and, with means, Pillow.
    cubic_coeff_a: new Fraction(method === 'cubic' ? -0.75 : -0.5),
    ...(method === 'antialiased' && {antialias: 1, exclude_outside: 1}),
  };
  const resized = resizedImage(out, out.unsqueeze(byChannel, [0]), sizes, method === 'linear' ? LINEAR : cubic);
  return out.node('Transpose', [out.reshape(out.squeeze(resized, [0]), [0, -1])], {perm: [1, 0]});
}

/** The fields of a layer whose result is added to the scores of windows. */
interface WindowScores {
  apartBy: number;
  bias(): tf.Tensor;
}

const windowBias: Write = (out, call) => {
  const layer = call.fields<WindowScores>();
  const {heads, size, shift, pads} = call.settings<{heads: number; size: number; shift: number; pads: boolean}>();
  const count = size ** 2;
  const bias = out.weight('bias', {shape: [1, heads, count, count], read: () => layer.bias()});
  if (shift === 0) {
    return call.output(bias);
  }
  const x = out.plain(call.input);
  const edges = [out.sizeOf(x, 1), out.sizeOf(x, 2)] as const;
  const grid = {
    rows: piecesOf(out, edges[0], size),
    columns: piecesOf(out, edges[1], size),
    shift: pads ? out.ints([shift]) : ifLarger(out, edges, size, shift),
  };
  const scores = out.node('Add', [bias, out.node('Mul', [apartOf(out, size, grid), out.float(layer.apartBy)])]);
  const batch = out.sizeOf(x, 0);
  return call.output(out.node('Tile', [scores, joinSizes(out, [batch, 1, 1, 1])]));
};

/** 1 for pairs of positions that the shift brought together, `[windows, 1, size², size²]`. */
function apartOf(
  out: GraphWriter,
  size: number,
  {rows, columns, shift}: Record<'rows' | 'columns' | 'shift', string>,
): string {
  return out.once(`apart ${rows} ${columns} ${shift} ${size}`, () => {
    const regions = (count: string): string => {
      const end = scaledSize(out, count, size);
      const places = out.positions(end);
      const behind = (from: string) =>
        out.cast(out.node('Not', [out.node('Less', [places, out.node('Sub', [end, from])])]), TYPE.int64);
      return out.node('Add', [behind(out.ints([size])), behind(shift)]);
    };
    const down = out.unsqueeze(scaledSize(out, regions(rows), 3), [1]);
    const all = out.unsqueeze(out.node('Add', [down, regions(columns)]), [0, 3]);
    const ofWindows = cut(out, all, {size, columns, channels: 1}); // [windows, size², 1]
    const isOne = out.node('Equal', [ofWindows, out.node('Transpose', [ofWindows], {perm: [0, 2, 1]})]);
    return out.unsqueeze(out.cast(out.node('Not', [isOne]), TYPE.float), [1]);
  });
}

/** For each pair of positions, the class token first, the row of their distance: `[1 + patches, 1 + patches]`. */
export function patchPairs(out: GraphWriter, r: string, c: string): string {
  return out.once(`pairs ${r} ${c}`, () => {
    const node = (op: string, ...inputs: string[]) => out.node(op, inputs);
    const [h, w] = [r, c].map(size => node('Sub', scaledSize(out, size, 2), out.ints([1]))) as [string, string];
    const count = node('Mul', r, c);
    const places = out.positions(count);
    const row = node('Div', places, c);
    const apart = (x: string) => node('Sub', out.unsqueeze(x, [1]), out.unsqueeze(x, [0]));
    const before = (x: string, size: string) => node('Add', apart(x), node('Sub', size, out.ints([1])));
    const across = before(node('Sub', places, node('Mul', row, c)), c);
    const ofPatches = node('Add', node('Mul', before(row, r), w), across);
    const [fromToken = '', toToken = '', itself = ''] = range(3).map(i =>
      node('Add', node('Mul', h, w), out.ints([i])),
    );
    const left = out.unsqueeze(node('Expand', toToken, count), [1]);
    const top = out.node('Concat', [itself, node('Expand', fromToken, count)], {axis: 0});
    const below = out.node('Concat', [left, ofPatches], {axis: 1});
    return out.node('Concat', [out.unsqueeze(top, [0]), below], {axis: 0});
  });
}

/** Cosines and sines of the angles of rows and columns of patches, after positions that are not rotated. */
const patchAngles: Write = (out, call) => {
  const {size, theta, tokens} = call.settings<Record<'size' | 'theta' | 'tokens', number>>();
  const quarter = size / 4;
  const x = out.plain(call.input);
  const [rows, columns] = [out.sizeOf(x, 1), out.sizeOf(x, 2)];
  const frequencies = out.floats(range(quarter).map(i => (2 * Math.PI) / theta ** (i / quarter)));
  const shape = joinSizes(out, [rows, columns, quarter]);
  const along = (count: string, axis: number): string => {
    const places = out.positions(count);
    const odd = out.cast(out.node('Add', [scaledSize(out, places, 2), out.ints([1])]), TYPE.float);
    const centers = out.node('Sub', [out.node('Div', [odd, out.cast(count, TYPE.float)]), out.float(1)]);
    const angles = out.node('Mul', [out.unsqueeze(centers, axis === 0 ? [1, 2] : [0, 2]), frequencies]);
    return out.node('Expand', [angles, shape]);
  };
  const both = out.node('Concat', [along(rows, 0), along(columns, 1)], {axis: 2});
  const ofPatches = out.reshape(both, [1, -1, 2 * quarter]);
  const still = out.floats(new Array<number>(tokens * 2 * quarter).fill(0), [1, tokens, 2 * quarter]);
  const all = tokens === 0 ? ofPatches : out.node('Concat', [still, ofPatches], {axis: 1});
  return call.output(out.node('Concat', [out.node('Cos', [all]), out.node('Sin', [all])], {axis: 0}));
};

export const WINDOW_LAYERS: Readonly<Record<string, Write>> = {
  WindowBias: windowBias,
  ContinuousWindowBias: windowBias,
  PatchAngles: patchAngles,
};
