import {flagOf, type GraphNode, numbersOf, textOf} from './graphDef';

/** An input of a node, as far as the size of the result depends on it. */
export interface SizedInput {
  shape: readonly number[];
  /** Its values, if they are known. */
  values?: ArrayLike<number> | undefined;
}

/** Returns the maximum size of a node's result. */
type Bound = (inputs: readonly SizedInput[], node: GraphNode) => number;

/**
 * The maximum size of a node's result. It bounds what a small file can make us compute.
 *
 * `BOUNDS` has a row for each op whose result may be larger than its inputs. `undefined` if the size depends on
 * unknown values.
 */
export function largestOutput(node: GraphNode, inputs: readonly SizedInput[]): number | undefined {
  const bound = Object.hasOwn(BOUNDS, node.op) ? BOUNDS[node.op] : undefined;
  const largest = bound === undefined ? broadcastSize(inputs) : bound(inputs, node);
  return Number.isNaN(largest) ? undefined : Math.max(0, largest);
}

const BOUNDS: Readonly<Record<string, Bound>> = {
  Fill: ([dims]) => product(valuesOf(dims)),
  BroadcastTo: ([, dims]) => product(valuesOf(dims)),
  Reshape: ([x]) => sizeOf(x),
  Tile: ([x, multiples]) => sizeOf(x) * product(valuesOf(multiples)),
  // tfjs counts down if a positive step of at most 1 leads away from the limit.
  Range: ([start, limit, step]) => {
    const count = Math.ceil((valueOf(limit) - valueOf(start)) / valueOf(step) || Number.NaN);
    return valueOf(step) > 0 && valueOf(step) <= 1 ? Math.abs(count) : count;
  },
  LinSpace: ([, , count]) => valueOf(count),
  OneHot: ([indices, depth]) => sizeOf(indices) * valueOf(depth),
  Pad: padded,
  PadV2: padded,
  MirrorPad: padded,
  ResizeBilinear: resized,
  ResizeNearestNeighbor: resized,
  CropAndResize: ([x, boxes, , size]) => product(valuesOf(size)) * (boxes?.shape[0] ?? 0) * (x?.shape[3] ?? 1),
  ScatterNd: ([, , dims]) => product(valuesOf(dims)),
  SparseToDense: ([, dims]) => product(valuesOf(dims)),
  TensorScatterUpdate: ([x]) => sizeOf(x),
  GatherV2: gathered,
  Gather: gathered,
  GatherNd: ([x, indices]) => {
    const depth = indices?.shape.at(-1) ?? 0;
    return (sizeOf(indices) / Math.max(1, depth)) * product(x?.shape.slice(depth) ?? []);
  },
  ConcatV2: inputs => total(inputs.map(sizeOf)),
  Concat: inputs => total(inputs.map(sizeOf)),
  Pack: inputs => total(inputs.map(sizeOf)),
  AddN: inputs => Math.max(...inputs.map(sizeOf)),
  Conv2DBackpropInput: ([dims]) => product(valuesOf(dims)),
  Conv2D: convolved,
  _FusedConv2D: convolved,
  Conv1D: convolved,
  Conv3D: convolved,
  DepthwiseConv2d: depthwise,
  DepthwiseConv2dNative: depthwise,
  FusedDepthwiseConv2dNative: depthwise,
  MatMul: multiplied,
  _FusedMatMul: multiplied,
  BatchMatMul: multiplied,
  BatchMatMulV2: multiplied,
  Einsum: contracted,
  Bincount: ([, size]) => valueOf(size),
  DenseBincount: ([x, size]) => valueOf(size) * (x?.shape[0] ?? 1),
  SpaceToBatchND: ([x, , paddings]) => {
    const pads = valuesOf(paddings);
    return product(
      (x?.shape ?? []).map((size, i) => size + (i === 0 ? 0 : (pads[2 * i - 2] ?? 0) + (pads[2 * i - 1] ?? 0))),
    );
  },
  StridedSlice: ([x]) => sizeOf(x),
  Slice: ([x]) => sizeOf(x),
  Split: ([, x]) => sizeOf(x),
  Shape: ([x]) => x?.shape.length ?? 0,
  Ones: ([dims]) => product(valuesOf(dims)),
  Zeros: ([dims]) => product(valuesOf(dims)),
  ImageProjectiveTransformV3: ([x, , size]) => resized([x ?? {shape: []}, size ?? {shape: []}]),
};

function padded([x, paddings]: readonly SizedInput[]): number {
  const pads = valuesOf(paddings);
  return product((x?.shape ?? []).map((size, i) => size + (pads[2 * i] ?? 0) + (pads[2 * i + 1] ?? 0)));
}

function resized([x, size]: readonly SizedInput[]): number {
  return (x?.shape[0] ?? 0) * product(valuesOf(size)) * (x?.shape[3] ?? 1);
}

function gathered([x, indices, axis]: readonly SizedInput[]): number {
  const at = axis === undefined ? 0 : valueOf(axis);
  const shape = x?.shape ?? [];
  return (sizeOf(x) / Math.max(1, shape.at(at) ?? 1)) * sizeOf(indices);
}

/** A convolution with explicit padding can enlarge an image. */
function convolved([x, filter]: readonly SizedInput[], node: GraphNode): number {
  return pixels(x, node) * (filter?.shape.at(-1) ?? 1);
}

function depthwise([x, filter]: readonly SizedInput[], node: GraphNode): number {
  return pixels(x, node) * product(filter?.shape.slice(-2) ?? []);
}

/** The size of images without their channels, padded as a node says. */
export function pixels(x: SizedInput | undefined, node: GraphNode): number {
  const pads = numbersOf(node, 'explicit_paddings');
  const channels = textOf(node, 'data_format').startsWith('NC') ? 1 : (x?.shape.length ?? 1) - 1;
  return product(
    (x?.shape ?? []).map((size, i) => (i === channels ? 1 : size + (pads[2 * i] ?? 0) + (pads[2 * i + 1] ?? 0))),
  );
}

function multiplied([a, b]: readonly SizedInput[], node: GraphNode): number {
  const rows = a?.shape.at(flagOf(node, 'transpose_a') || flagOf(node, 'adj_x') ? -1 : -2) ?? 1;
  const columns = b?.shape.at(flagOf(node, 'transpose_b') || flagOf(node, 'adj_y') ? -2 : -1) ?? 1;
  return rows * columns * broadcastSize([a, b].map(x => ({shape: x?.shape.slice(0, -2) ?? []})));
}

/** No equation has as many operands. */
const MOST_OPERANDS = 32;

/**
 * The largest product in computing an equation such as `ab,bc->ac`: from left to right, each with the letters that the
 * result or a later operand still needs. Letters are sizes of axes; `...` stands for any axes, which are broadcast.
 * Without an arrow the result has the letters that occur once.
 *
 * @param isWhole whether letters count in the product after which they are summed.
 */
export function contracted(inputs: readonly SizedInput[], node: GraphNode, isWhole = false): number {
  const [left = '', right] = textOf(node, 'equation').replace(/\s/g, '').split('->');
  const operands = left.split(',');
  // Each is compared with all after it.
  if (operands.length > inputs.length || operands.length > MOST_OPERANDS) {
    return Infinity;
  }
  const letters = Array.from(left.replace(/[,.]/g, ''));
  const once = letters.filter(letter => letters.indexOf(letter) === letters.lastIndexOf(letter));
  const result = right ?? once.join('') + (left.includes('...') ? '...' : '');
  const sizes = new Map<string, number>();
  const rests = operands.map((operand, i) => {
    const shape = inputs[i]?.shape ?? [];
    const [before = '', after] = operand.split('...');
    const end = after === undefined ? before.length : shape.length - after.length;
    const keep = (letter: string, size = 1) => sizes.set(letter, Math.max(size, sizes.get(letter) ?? 1));
    Array.from(before).forEach((letter, axis) => keep(letter, shape[axis]));
    Array.from(after ?? '').forEach((letter, axis) => keep(letter, shape[end + axis]));
    return {shape: shape.slice(before.length, end)};
  });
  const rest = broadcastSize(rests);
  const products = operands.map((_, i) => {
    const needed = result + operands.slice(i + (isWhole ? 0 : 1)).join('');
    const kept = [...new Set(operands.slice(0, i + 1).join(''))].filter(letter => needed.includes(letter));
    const isOf = (letter: string) => letter !== '.';
    return product(kept.filter(isOf).map(letter => sizes.get(letter) ?? 1)) * (needed.includes('...') ? rest : 1);
  });
  return Math.max(...products);
}

/** The broadcast size of an elementwise result. */
function broadcastSize(inputs: readonly SizedInput[]): number {
  const rank = Math.max(0, ...inputs.map(({shape}) => shape.length));
  return product(Array.from({length: rank}, (_, i) => Math.max(1, ...inputs.map(({shape}) => shape.at(-1 - i) ?? 1))));
}

export function sizeOf(x: SizedInput | undefined): number {
  return product(x?.shape ?? []);
}

/** The first value of an input; NaN if it is unknown. */
function valueOf(x: SizedInput | undefined): number {
  return x?.values?.[0] ?? Number.NaN;
}

/** The values of an input; a single NaN if they are unknown. */
function valuesOf(x: SizedInput | undefined): number[] {
  return x?.values === undefined ? [Number.NaN] : Array.from(x.values);
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total * size, 1);
}

function total(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + size, 0);
}
