import * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode} from '../graphDef';
import type {SizedInput} from '../graphSize';

/** The shape of a result; `undefined` if the values that decide it are not known. */
type ShapeRule = (
  shapes: readonly (readonly number[])[],
  values: (index: number) => number[] | undefined,
  node: GraphNode,
) => number[] | undefined;

const broadcast: ShapeRule = shapes =>
  shapes.reduce<number[]>((one, other) => tf.backend_util.assertAndGetBroadcastShape(one, [...other]), []);

const padded: ShapeRule = ([x = []], values) => {
  const pads = values(1);
  return pads && x.map((size, axis) => size + (pads[2 * axis] ?? 0) + (pads[2 * axis + 1] ?? 0));
};

const resized: ShapeRule = ([x = []], values) => {
  const size = values(1);
  return size && [x[0] ?? 1, ...size, x[3] ?? 1];
};

/** Of more axes, not every backend copies values. */
const MOST_COPIED_AXES = 4;

const copied = (shape: number[] | undefined) =>
  shape !== undefined && shape.length <= MOST_COPIED_AXES ? shape : undefined;

const expanded: ShapeRule = ([x = []], values) => {
  const dims = values(1);
  const fits = dims !== undefined && x.length <= dims.length;
  return fits && tf.util.arraysEqual(tf.backend_util.assertAndGetBroadcastShape([...x], dims), dims)
    ? copied(dims)
    : undefined;
};

const tiled: ShapeRule = ([x = []], values) => {
  const times = values(1);
  return times?.length === x.length ? copied(x.map((size, axis) => size * (times[axis] ?? 1))) : undefined;
};

const selected: ShapeRule = (shapes, values, node) => copied(broadcast(shapes, values, node));

const multiplied: ShapeRule = ([a = [], b = []], _, node) => {
  const [rows = 1, inner] = flagOf(node, 'adj_x') ? [a.at(-1), a.at(-2)] : a.slice(-2);
  const [own, columns = 1] = flagOf(node, 'adj_y') ? [b.at(-1), b.at(-2)] : b.slice(-2);
  const lead = tf.backend_util.assertAndGetBroadcastShape(a.slice(0, -2), b.slice(0, -2));
  return inner === own ? [...lead, rows, columns] : undefined;
};

const reduced: ShapeRule = ([x = []], values, node) => {
  const axes = values(1)?.map(axis => (axis < 0 ? axis + x.length : axis));
  const keeps = flagOf(node, 'keep_dims');
  return axes && x.flatMap((size, axis) => (axes.includes(axis) ? (keeps ? [1] : []) : [size]));
};

/** By op: rules for results of floats, from floats, conditions, and integers that are known. */
const RULES: Readonly<Record<string, ShapeRule>> = {
  ...Object.fromEntries(
    (
      'Abs Add AddV2 Cos Div Elu Erf Exp LeakyRelu Log Maximum Minimum Mul Neg Pow RealDiv Relu Relu6 Rsqrt Sigmoid Sin ' +
      'Softmax Softplus Sqrt Square SquaredDifference Sub Tanh'
    )
      .split(' ')
      .map(op => [op, broadcast]),
  ),
  BatchMatMul: multiplied,
  BatchMatMulV2: multiplied,
  BroadcastTo: expanded,
  ConcatV2: (shapes, values) => {
    const parts = shapes.slice(0, -1);
    const [first = []] = parts;
    const [axis = 0] = values(parts.length) ?? [Number.NaN];
    const at = axis < 0 ? axis + first.length : axis;
    const fits = parts.every(
      part => part.length === first.length && part.every((size, i) => i === at || size === first[i]),
    );
    return fits && first[at] !== undefined
      ? first.map((size, i) => (i === at ? parts.reduce((sum, part) => sum + (part[at] ?? 0), 0) : size))
      : undefined;
  },
  Max: reduced,
  Mean: reduced,
  Min: reduced,
  MirrorPad: padded,
  PadV2: padded,
  ResizeBilinear: resized,
  ResizeNearestNeighbor: resized,
  SelectV2: selected,
  Sum: reduced,
  Tile: tiled,
  Transpose: ([x = []], values) => values(1)?.map(axis => x.at(axis) ?? 1),
};

/** An input of which the type is known too. */
type TypedInput = SizedInput & {dtype: tf.DataType};

/**
 * The shape of a result of floats, from the shapes of the inputs: images and attention may be so large that a trial run
 * takes seconds. `undefined` if only a run tells it.
 */
export function shapeByRule(node: GraphNode, inputs: readonly TypedInput[]): number[] | undefined {
  const rule = Object.hasOwn(RULES, node.op) ? RULES[node.op] : undefined;
  const isData = ({dtype, values}: TypedInput, i: number) =>
    dtype === 'float32' ||
    (i > 0 && values !== undefined && rule !== broadcast && rule !== selected) ||
    (i === 0 && dtype === 'bool' && rule === selected);
  const values = (index: number) => {
    const list = inputs[index]?.values;
    return list && Array.from(list);
  };
  return inputs.every(isData)
    ? rule?.(
        inputs.map(({shape}) => shape),
        values,
        node,
      )
    : undefined;
}
