import * as tf from '@tensorflow/tfjs';
import type {FormulaOps} from '../ops/formulaOps';

/** A height and a width. */
export type Sizes = readonly [number, number];

/** What a `KerasLayer` computes, and its settings in Keras. */
export interface KerasLayerArgs {
  name?: string;
  /** A key of `OPERATIONS`. */
  computes: string;
  activation?: string;
  maxValue?: number | null;
  negativeSlope?: number;
  threshold?: number;
  scale?: number | number[];
  offset?: number | number[];
  /** The axes of a weight, or those that an operation runs over. */
  axes?: number[];
  keepdims?: boolean;
  mean?: number[];
  variance?: number[];
  invert?: boolean;
  epsilon?: number;
  /** Groups of channels. */
  groups?: number;
  /** The weights of a normalization or an attention. */
  has?: string[];
  /** The scale of an image's upsampling. */
  factors?: Sizes;
  /** The size that an image is resized or cropped to. */
  sizes?: Sizes;
  interpolation?: 'nearest' | 'bilinear';
  crops?: boolean;
  dataFormat?: 'channelsFirst' | 'channelsLast';
  /** Entries before and after each axis: zeros that are added, or, if negative, entries that are left out. */
  margins?: [number, number][];
  /** The order of the axes after a transposition. */
  order?: number[];
  /** A number that marks masked positions. */
  value?: number;
  /** Whether masked steps do not count. */
  heedsMask?: boolean;
  filters?: number;
  kernelSize?: number[];
  strides?: number[];
  dilationRate?: number[];
  padding?: 'valid' | 'same';
  outputPadding?: number[];
  useBias?: boolean;
  /** The equation of an einsum, with lower-case letters. */
  equation?: string;
  outputShape?: (number | null)[];
  biasAxes?: string;
  /** The role of each input of an attention. */
  roles?: string[];
  heads?: number;
  causal?: boolean;
  /** Whether masked scores are replaced, not lowered: where all are, they have no gradient. */
  replaces?: boolean;
  score?: 'dot' | 'concat' | 'additive';
}

export interface WeightSpec {
  name: string;
  shape: tf.Shape;
  /** Default: true. */
  trainable?: boolean;
}

/** The values that a formula uses besides its first input. */
export interface FormulaCall<T> {
  weights: Readonly<Record<string, T | undefined>>;
  mask: T | null | undefined;
  /** The shape of the first input. */
  shape: tf.Shape;
}

/** The values that an operation uses besides its first input. */
export interface OperationCall extends Omit<FormulaCall<tf.Tensor>, 'shape'> {
  inputs: readonly tf.Tensor[];
}

interface OperationShapes {
  /** Default: that of the first input. */
  shape?(input: tf.Shape, args: KerasLayerArgs, inputs: readonly tf.Shape[]): tf.Shape;
  weights?(input: tf.Shape, args: KerasLayerArgs): WeightSpec[];
}

/** An operation of Keras that no layer of tfjs computes: by a formula, which `toONNX` writes too, or otherwise. */
export type Operation = OperationShapes &
  (
    | {formula<T, N>(o: FormulaOps<T, N>, x: T, args: KerasLayerArgs, call: FormulaCall<T>): T}
    | {formula?: undefined; compute(x: tf.Tensor, args: KerasLayerArgs, call: OperationCall): tf.Tensor}
  );

/** Axes in their order, including those counted from the end. */
export function fromFront(axes: readonly number[] = [], rank: number): number[] {
  return axes.map(axis => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
}

/**
 * Numbers along some axes of a tensor, in a shape that broadcasts to it. A vector and a tensor of five axes would not
 * do: webgpu's results are zeros.
 */
export function along(numbers: tf.Tensor, axes: readonly number[] | undefined, x: tf.Tensor): tf.Tensor {
  return tf.reshape(numbers, shapeAlong(axes, x.shape));
}

/** The shape of numbers along some axes of a tensor. */
export function shapeAlong(axes: readonly number[] | undefined, shape: tf.Shape): number[] {
  const over = fromFront(axes, shape.length);
  return shape.map((size, axis) => (over.includes(axis) ? Number(size) : 1));
}

/** The sizes of some axes, in the order of these. */
export function sizesOf(input: tf.Shape, axes: readonly number[] = []): tf.Shape {
  return axes.map(axis => input.at(axis) ?? null);
}

/** Whether the values of a tensor differ from a number, as 0 and 1. Without a gradient, which tfjs would refuse. */
export function differing(x: tf.Tensor, value: number): tf.Tensor {
  const differs = tf.customGrad(compared => ({
    value: tf.cast(tf.notEqual(compared as tf.Tensor, value), 'float32'),
    gradFunc: () => tf.zeros(x.shape),
  }));
  return differs(x);
}
