import * as tf from '@tensorflow/tfjs';

export type GateActivation = 'silu' | 'gelu' | 'gelu_tanh';

/**
 * The operations of formulas. In a model that runs, `T` is a tensor, and `N`, the size of an axis, a number. In a graph
 * that is written, both are names of values. Axes count from the front.
 */
export interface FormulaOps<T, N> {
  add(a: T | number, b: T | number): T;
  sub(a: T | number, b: T | number): T;
  mul(a: T | number, b: T | number): T;
  div(a: T | number, b: T | number): T;
  max(a: T | number, b: T | number): T;
  min(a: T | number, b: T | number): T;
  abs(x: T): T;
  exp(x: T): T;
  floor(x: T): T;
  relu(x: T): T;
  rsqrt(x: T): T;
  /** 1 above 0, else 0. */
  step(x: T): T;
  clip(x: T, low: number, high: number): T;
  sqrt(x: T): T;
  square(x: T): T;
  tanh(x: T): T;
  /** Comparisons give booleans, which `float` and `int` turn into 1 and 0. */
  equal(a: T, b: T | number): T;
  less(a: T, b: T | number): T;
  atLeast(a: T, b: T | number): T;
  float(x: T): T;
  int(x: T): T;
  /** 1 where a value is a number, 0 elsewhere. The values may be integers. */
  is(x: T, value: number): T;
  isNot(x: T, value: number): T;
  /** 1 where a mask is not 0, 0 elsewhere. */
  shown(mask: T): T;
  sum(x: T, axes: readonly number[], keepsAxes?: boolean): T;
  mean(x: T, axes: readonly number[], keepsAxes?: boolean): T;
  greatest(x: T, axes: readonly number[], keepsAxes?: boolean): T;
  /** The index of the greatest value of an axis, which becomes 1. */
  argMax(x: T, axis: number): T;
  cumsum(x: T, axis: number, reverse?: boolean): T;
  /** Products of as many matrices. */
  matMul(a: T, b: T): T;
  /** `[…, n] · [n, m] → […, m]`. */
  linear(x: T, matrix: T): T;
  gather(table: T, rows: T): T;
  /** A size of 0 is that of the same axis of `x`, and −1 stands for what remains. */
  reshape(x: T, shape: readonly (N | number)[]): T;
  /** The shape is the first sizes of `like`, followed by others. */
  reshapeLike(x: T, like: T, axes: number, lastSizes: readonly number[]): T;
  transpose(x: T, order: readonly number[]): T;
  expandDims(x: T, axes: readonly number[]): T;
  squeeze(x: T, axes: readonly number[]): T;
  concat(parts: readonly T[], axis: number): T;
  /** Two halves of an axis. */
  halves(x: T, axis: number): [T, T];
  /** The entries of an axis from one to before another. */
  slice(x: T, axis: number, from: number, to: N | number): T;
  /** Adds zeros before and after each axis. */
  pad(x: T, margins: readonly (readonly [before: number, after: number])[]): T;
  /** One example, of `rank` axes, as many times as a batch has. */
  repeat(example: T, batch: N, rank: number): T;
  values(list: readonly number[]): T;
  /** `0, 1, …`. */
  range(count: N, type?: 'float32' | 'int32'): T;
  /** Ones for the first two axes. */
  ones(like: T): T;
  size(x: T, axis: number): N;
  /** `size + more`. */
  plus(size: N, more: number): N;
  /** `size · factor`. */
  times(size: N, factor: number): N;
  /** `⌈size / piece⌉`. */
  pieces(size: N, piece: number): N;
  /** `factor` if the smaller size is larger than a number, else 0. */
  ifLarger(sizes: readonly [N, N], than: number, factor: number): N;
}

/** Operations of transformers that have kernels, or gradients of their own. */
export interface TransformerOps<T, N> extends FormulaOps<T, N> {
  /** `γ·x + β`. */
  affine(x: T, gamma: T, beta: T): T;
  activate(x: T, activation: GateActivation): T;
  /** `x·sigmoid(slope·x)`. */
  swish(x: T, slope: number): T;
  /** `f(gate)·x`. */
  gate(gate: T, x: T, activation: GateActivation): T;
  /** The same for the halves of the last axis. */
  gateHalves(x: T, activation: GateActivation, axis: number): T;
  /** Normalizes the last axis, of one input or of the sum of two. */
  normalizeRows(x: T, residual: T | undefined, weights: {readonly gamma: T; readonly beta?: T}, rows: Rows): T;
  normalizeChannels(x: T, gamma: T, beta: T): T;
  /** Lengths of vectors, with a gradient where they are 0. */
  norm(x: T, axes: readonly number[]): T;
  /** Cosines of all pairs of rows. */
  cosines(a: T, b: T): T;
  /** Counts divided by their sum; 0 if none counts. */
  shares(counts: T, sum: T): T;
  /** Rotates pairs of values of each head by angles, `[2, positions, size / 2]`. */
  rotate(x: T, angles: T, heads: number, size: number): T;
  maxPool(x: T, window: {size: number; stride: number; padding: number}): T;
  /** Resizes features to a height and a width. */
  resize(x: T, height: N, width: N): T;
  /** Resizes a table with a row for each place of a grid, `[rows·columns, width]`, to another grid. */
  resizeTable(table: T, grid: Pair<number>, to: Pair<N>, method: 'linear' | 'cubic' | 'antialiased'): T;
  /** The rows of a table for the distances of patches, and for a class token: `[1 + patches, 1 + patches]`. */
  patchPairs(rows: N, columns: N): T;
  /** Moves rows and columns up and left, around the edges; if `back`, down and right. */
  roll(x: T, by: N | number, back?: boolean): T;
  /** Adds zeros below and to the right, to whole pieces. */
  padToPieces(x: T, pieces: readonly [height: number, width: number]): T;
  /** The first rows and columns, as many as other features have. */
  cropLike(x: T, like: T): T;
  /** The logarithm of a probability of 0. */
  logOfZero(): number;
}

type Pair<N> = readonly [rows: N, columns: N];

export interface Rows {
  /** The shape of the input. */
  shape: tf.Shape;
  /** The values that are normalized together, if not all of a row. */
  size: number | undefined;
  centered: boolean;
  /** Whether `gamma` is added to 1. */
  addsOne: boolean;
  epsilon: number;
}

const float = (x: tf.Tensor) => (x.dtype === 'float32' ? x : tf.cast(x, 'float32'));

export const TENSOR_OPS: FormulaOps<tf.Tensor, number> = {
  ...{add: tf.add, sub: tf.sub, mul: tf.mul, div: tf.div, max: tf.maximum, min: tf.minimum, abs: tf.abs, exp: tf.exp},
  ...{floor: tf.floor, relu: tf.relu, rsqrt: tf.rsqrt, sqrt: tf.sqrt, square: tf.square, tanh: tf.tanh},
  ...{step: x => tf.step(x), clip: tf.clipByValue},
  ...{equal: tf.equal, less: tf.less, atLeast: tf.greaterEqual, float},
  int: x => tf.cast(x, 'int32'),
  // tfjs casts both operands if their types differ.
  is: (x, value) => float(tf.equal(float(x), value)),
  isNot: (x, value) => float(tf.notEqual(float(x), value)),
  shown: mask => float(tf.notEqual(float(mask), 0)),
  sum: (x, axes, keepsAxes = true) => tf.sum(x, [...axes], keepsAxes),
  mean: (x, axes, keepsAxes = true) => tf.mean(x, [...axes], keepsAxes),
  greatest: (x, axes, keepsAxes = true) => tf.max(x, [...axes], keepsAxes),
  argMax: (x, axis) => tf.expandDims(tf.argMax(float(x), axis), axis),
  cumsum: (x, axis, reverse) => tf.cumsum(x, axis, false, reverse),
  matMul: (a, b) => tf.matMul(a, b),
  linear: (x, matrix) =>
    tf.reshape(tf.matMul(tf.reshape(x, [-1, matrix.shape[0]]), matrix), [
      ...x.shape.slice(0, -1),
      matrix.shape[1] as number,
    ]),
  gather: (table, rows) => tf.gather(table, tf.cast(rows, 'int32')),
  reshape: (x, shape) =>
    tf.reshape(
      x,
      shape.map((size, axis) => (size === 0 ? (x.shape[axis] as number) : size)),
    ),
  reshapeLike: (x, like, axes, lastSizes) => tf.reshape(x, [...like.shape.slice(0, axes), ...lastSizes]),
  transpose: (x, order) => tf.transpose(x, [...order]),
  expandDims: (x, axes) => axes.reduce((y, axis) => tf.expandDims(y, axis), x),
  squeeze: (x, axes) => tf.squeeze(x, [...axes]),
  concat: (parts, axis) => tf.concat([...parts], axis),
  halves: (x, axis) => tf.split(x, 2, axis) as [tf.Tensor, tf.Tensor],
  slice(x, axis, from, to) {
    const along = (value: number, sizes: readonly number[]) => sizes.map((size, i) => (i === axis ? value : size));
    return tf.slice(x, along(from, new Array<number>(x.rank).fill(0)), along(to - from, x.shape));
  },
  pad: (x, margins) => tf.pad(x, margins as [number, number][]),
  repeat: (example, batch, rank) => tf.tile(example, [batch, ...new Array<number>(rank - 1).fill(1)]),
  values: list => tf.tensor1d([...list]),
  range: (count, type = 'float32') => tf.range(0, count, 1, type),
  ones: ({shape}) => tf.ones(shape.slice(0, 2)),
  size: ({shape}, axis) => shape[axis] as number,
  plus: (size, more) => size + more,
  times: (size, factor) => size * factor,
  pieces: (size, piece) => Math.ceil(size / piece),
  ifLarger: (sizes, than, factor) => (Math.min(...sizes) > than ? factor : 0),
};
