import * as tf from '@tensorflow/tfjs';
import {sizeOf as numberOfValues} from '../../../platform/formats/layout';
import {type GraphNode, inputsOf, numberOf, numbersOf} from '../graphDef';
import {asSecond, ofAll, ofFirst, ofSecond, product, sizeOf, valueOf, valuesOrNaN} from './bounds';
import type {Bound, LayerRule, Operation, RowRule, ShapeRule} from './operation';
import {BATCH, KNOWN} from './openSizes';
import type {Planner} from './planner';
import {byFirst, isFlow, isInside, mixed} from './rowRules';
import type {Flow, Pair, SizeId} from './values';

/** The target shape of a tensor, with -1 for the remaining size. */
interface Target {
  pair: Pair<number[]>;
  /** What the sizes are made of. */
  sizes: readonly SizeId[];
}

/** A Reshape that keeps the batch, as a layer; with an open size, as an op that computes the size. */
function planReshape(node: GraphNode, planner: Planner): boolean {
  const [x = '', target] = inputsOf(node);
  const flow = planner.valueOf(x);
  const wanted = planner.numbersAt(target);
  if (flow?.kind !== 'flow' || wanted === undefined) {
    return false;
  }
  const rowShape = rowShapeOf(flow, wanted, planner);
  if (rowShape !== undefined && addReshape(node, rowShape, planner)) {
    return true;
  }
  const pattern = wanted.pair[0].map((size, i) => (wanted.sizes[i] === KNOWN ? size : -1));
  if (planner.valueOf(target)?.kind === 'shaped' && pattern.filter(size => size === -1).length === 1) {
    planner.addOp({...node, input: [x, namedConstant(node, pattern, planner)]});
    return true;
  }
  return false;
}

/** The shape of a row after a Reshape that keeps the first axis, with at most one -1; `undefined` if unproved. */
function rowShapeOf({shapes, sizes}: Flow, target: Target, {freesBatch}: Planner): number[] | undefined {
  const [first, ...rowSizes] = target.pair[0].map((size, i) => (target.sizes[i] === KNOWN ? size : -1));
  const isKnown = sizes.slice(1).every(size => size === KNOWN);
  const row = tf.util.sizeFromShape(shapes[0].slice(1));
  const left = rowSizes.filter(size => size === -1).length;
  const knownSize = tf.util.sizeFromShape(rowSizes.filter(size => size !== -1));
  const lead = target.sizes[0];
  const keeps =
    lead !== KNOWN
      ? lead === sizes[0]
      : first === -1
        ? left === 0 && isKnown && knownSize === row
        : first === shapes[0][0] && (freesBatch || sizes[0] === KNOWN);
  if (!keeps || left > 1 || (left === 0 && !(isKnown && knownSize === row))) {
    return undefined;
  }
  const resolved = isKnown ? row / knownSize : -1;
  return Number.isInteger(resolved) ? rowSizes.map(size => (size === -1 ? resolved : size)) : undefined;
}

/** Plans a node that reshapes each row of its input. `false` if no layer does. */
function addReshape(node: GraphNode, rowShape: number[], planner: Planner): boolean {
  const [x = ''] = inputsOf(node);
  if (planner.floats(x) && rowShape.length > 0) {
    planner.addLayer(node, {className: 'Reshape', config: {targetShape: rowShape}, inputs: [x]});
    return true;
  }
  if (planner.freesBatch && !rowShape.includes(-1)) {
    planner.addOp({...node, op: 'Reshape', input: [x, namedConstant(node, [-1, ...rowShape], planner)]});
    return true;
  }
  return false;
}

/** A constant that the plan adds for a node. */
function namedConstant({name}: GraphNode, values: number[], planner: Planner): string {
  const constant = `${name}/shape`;
  const tensor = planner.keep(tf.tensor1d(values, 'int32'));
  planner.values.set(`${constant}:0`, {kind: 'constant', tensor, values});
  return constant;
}

/** A Squeeze or ExpandDims that keeps the batch. */
function planSqueeze(node: GraphNode, planner: Planner): boolean {
  const [x = '', axis] = inputsOf(node);
  const flow = planner.valueOf(x);
  if (flow?.kind !== 'flow') {
    return false;
  }
  const {shapes, sizes} = flow;
  const axes = shapes[0].map((_, i) => i);
  const order = node.op === 'Squeeze' ? squeezed(node, flow, planner) : expanded(axes, planner.numbers(axis)?.[0]);
  if (order === undefined || order.length === 0) {
    return false;
  }
  const shapeAt = (p: 0 | 1) => order.map(place => (place === undefined ? 1 : (shapes[p][place] as number)));
  const target = {
    pair: [shapeAt(0), shapeAt(1)] as const,
    sizes: order.map(place => (place === undefined ? KNOWN : (sizes[place] as SizeId))),
  };
  const rowShape = rowShapeOf(flow, target, planner);
  return rowShape !== undefined && addReshape(node, rowShape, planner);
}

/** The axes that a Squeeze keeps; `undefined` if that depends on open sizes. */
function squeezed(node: GraphNode, {shapes, sizes}: Flow, {freesBatch}: Planner): number[] | undefined {
  const rank = sizes.length;
  const listedAxes = ['axis', 'squeeze_dims'].flatMap(key => numbersOf(node, key));
  const dropped = listedAxes.map(axis => (axis < 0 ? axis + rank : axis));
  // Without axes, a Squeeze drops all sizes of 1.
  const isExact = listedAxes.length > 0 || sizes.every(size => size === KNOWN || (freesBatch && size === BATCH));
  const isKept = (axis: number) => (listedAxes.length > 0 ? !dropped.includes(axis) : shapes[0][axis] !== 1);
  return isExact ? sizes.map((_, axis) => axis).filter(isKept) : undefined;
}

/** The axes of a tensor with a new one among them. */
function expanded(axes: readonly number[], at: number | undefined): (number | undefined)[] | undefined {
  if (at === undefined) {
    return undefined;
  }
  const place = at < 0 ? at + axes.length + 1 : at;
  return [...axes.slice(0, place), undefined, ...axes.slice(place)];
}

/** A Transpose that keeps the batch, as a `Permute`. */
function planTranspose(node: GraphNode, planner: Planner): boolean {
  const [x = '', order] = inputsOf(node);
  const dims = planner.numbers(order);
  if (planner.floats(x) === undefined || dims?.[0] !== 0 || dims.length < 2) {
    return false;
  }
  planner.addLayer(node, {className: 'Permute', config: {dims: dims.slice(1)}, inputs: [x]});
  return true;
}

const planConcat: LayerRule = (node, planner) => {
  const names = inputsOf(node);
  const parts = names.slice(0, -1);
  const [axis] = planner.numbers(names.at(-1)) ?? [];
  const flows = parts.map(name => planner.floats(name));
  const rank = flows[0]?.shapes[0].length ?? 0;
  const alike = flows.every(flow => flow !== undefined && flow.shapes[0][0] === flows[0]?.shapes[0][0]);
  const keys = new Set(flows.map(flow => flow?.key));
  if (axis === undefined || axis === 0 || axis === -rank || parts.length < 2 || !alike || keys.size < parts.length) {
    return false;
  }
  // The layer treats every negative axis as the last one.
  planner.addLayer(node, {className: 'Concatenate', config: {axis: axis < 0 ? axis + rank : axis}, inputs: parts});
  return true;
};

/** An embedding look-up. */
const planEmbedding: LayerRule = (node, planner) => {
  const [table, rows = '', axis] = inputsOf(node);
  const tensor = planner.constant(table);
  const at = axis === undefined ? 0 : planner.numbers(axis)?.[0];
  const indices = planner.valueOf(rows);
  const isLookUp = at === 0 && indices?.kind === 'flow' && indices.shapes[0].length > 0;
  if (tensor?.rank !== 2 || tensor.dtype !== 'float32' || !isLookUp || numberOf(node, 'batch_dims', 0) !== 0) {
    return false;
  }
  const [inputDim = 0, outputDim = 0] = tensor.shape;
  planner.addLayer(node, {
    className: 'Embedding',
    config: {inputDim, outputDim},
    inputs: [rows],
    weights: {embeddings: {tensor, source: {node: node.name, index: 0}}},
  });
  return true;
};

const gathered: Bound = ([x, indices, axis]) => {
  const at = axis === undefined ? 0 : valueOf(axis);
  const shape = x?.shape ?? [];
  return (sizeOf(x) / Math.max(1, shape.at(at) ?? 1)) * sizeOf(indices);
};

const gather: RowRule = ({node, values, ranks, numbers}) => {
  const [table, rows] = values;
  const [axis] = values.length > 2 ? (numbers(2) ?? []) : [0];
  const hasBatches = numberOf(node, 'batch_dims', 0) !== 0;
  if (isFlow(table)) {
    return isInside(axis, ranks[0]) && isFlow(rows) === hasBatches;
  }
  return isFlow(rows) && !hasBatches && axis === 0;
};

/** The whole batch, in order. */
const stridedSlice: RowRule = subject => {
  const {node, numbers} = subject;
  const has = (mask: string) => (numberOf(node, mask, 0) & 1) === 1;
  const [begin] = numbers(1) ?? [];
  const [step] = numbers(3) ?? [];
  return (
    byFirst(subject) &&
    step === 1 &&
    (begin === 0 || has('begin_mask')) &&
    has('end_mask') &&
    numberOf(node, 'ellipsis_mask', 0) === 0 &&
    !has('shrink_axis_mask') &&
    !has('new_axis_mask')
  );
};

const slice: RowRule = subject => byFirst(subject) && subject.numbers(1)?.[0] === 0 && subject.numbers(2)?.[0] === -1;

/** The open size is the batch, if all others are known. */
const reshape: RowRule = subject => {
  const [x] = subject.values;
  const [first, ...rowSizes] = subject.numbers(1) ?? [];
  if (!byFirst(subject) || x?.kind !== 'flow' || first !== -1 || x.sizes.slice(1).some(size => size !== KNOWN)) {
    return false;
  }
  return numberOfValues(rowSizes) === numberOfValues(x.shapes[0].slice(1));
};

const squeeze: RowRule = subject => {
  const {node, ranks} = subject;
  const axes = ['axis', 'squeeze_dims'].flatMap(key => numbersOf(node, key));
  return byFirst(subject) && axes.length > 0 && axes.every(axis => isInside(axis, ranks[0]));
};

const expandDims: RowRule = subject =>
  byFirst(subject) && isInside(subject.numbers(1)?.[0], (subject.ranks[0] ?? 0) + 1);

/** A concatenation of flows along an axis that is an attribute. */
const pack: RowRule = ({node, values, ranks}) =>
  values.every(isFlow) && isInside(numberOf(node, 'axis', 0), (ranks[0] ?? 0) + 1);

const concat: RowRule = ({values, ranks, numbers}) =>
  values.slice(0, -1).every(isFlow) && isInside(numbers(values.length - 1)?.[0], ranks[0]);

const concatenated: ShapeRule = (shapes, values) => {
  const parts = shapes.slice(0, -1);
  const [first = []] = parts;
  const [axis = 0] = values(parts.length) ?? [Number.NaN];
  const at = axis < 0 ? axis + first.length : axis;
  const fits = parts.every(
    shape => shape.length === first.length && shape.every((size, i) => i === at || size === first[i]),
  );
  return fits && first[at] !== undefined
    ? first.map((size, i) => (i === at ? parts.reduce((sum, shape) => sum + (shape[at] ?? 0), 0) : size))
    : undefined;
};

const indices = (count: number) => Array.from({length: count}, (_, i) => i);

/** Operations that move values to other places: they reshape, permute, slice, join, split and look up. */
export const SHAPING: Readonly<Record<string, Operation>> = {
  Reshape: {size: ofFirst, rows: reshape, moves: () => [0], layer: planReshape},
  Squeeze: {size: ofFirst, rows: squeeze, moves: () => [0], layer: planSqueeze},
  ExpandDims: {size: ofFirst, rows: expandDims, moves: () => [0], layer: planSqueeze},
  Transpose: {
    size: ofFirst,
    rows: subject => byFirst(subject) && subject.numbers(1)?.[0] === 0,
    shape: ([x = []], values) => values(1)?.map(axis => x.at(axis) ?? 1),
    moves: () => [0],
    layer: planTranspose,
  },
  Slice: {size: ofFirst, rows: slice, moves: () => [0]},
  StridedSlice: {size: ofFirst, rows: stridedSlice, moves: () => [0]},
  ConcatV2: {
    size: ofAll,
    rows: concat,
    shape: concatenated,
    moves: (_, count) => indices(count - 1),
    layer: planConcat,
  },
  Concat: {size: ofAll, rows: mixed},
  Pack: {size: ofAll, rows: pack, moves: (_, count) => indices(count)},
  Unpack: {
    size: ofFirst,
    rows: ({node, ranks}) => isInside(numberOf(node, 'axis', 0), ranks[0]),
    moves: () => [0],
  },
  Split: {
    size: ofSecond,
    rows: ({values, ranks, numbers}) => isFlow(values[1]) && isInside(numbers(0)?.[0], ranks[1]),
    moves: () => [1],
  },
  SplitV: {
    size: ofFirst,
    rows: subject => byFirst(subject) && isInside(subject.numbers(2)?.[0], subject.ranks[0]),
    moves: () => [0],
  },
  GatherV2: {size: gathered, rows: gather, moves: () => [0], layer: planEmbedding},
  Gather: {size: gathered, rows: mixed},
  GatherNd: {
    size: ([x, places]) => {
      const depth = places?.shape.at(-1) ?? 0;
      return (sizeOf(places) / Math.max(1, depth)) * product(x?.shape.slice(depth) ?? []);
    },
    rows: mixed,
  },
  ScatterNd: {size: ([, , dims]) => product(valuesOrNaN(dims)), rows: mixed},
  SparseToDense: {size: asSecond, rows: mixed},
  TensorScatterUpdate: {size: ofFirst, rows: mixed},
};
