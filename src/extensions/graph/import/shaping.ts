import * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode, inputsOf, numbersOf} from '../graphDef';
import {BATCH, KNOWN} from './openSizes';
import {planOp} from './planOp';
import type {Planner} from './planner';
import type {Flow, Pair, SizeId} from './values';

/** The target shape of a tensor, with -1 for the remaining size. */
interface Target {
  pair: Pair<number[]>;
  /** What the sizes are made of. */
  sizes: readonly SizeId[];
}

/** A Reshape that keeps the batch, as a layer; with an open size, as an op that computes the size. */
export function planReshape(node: GraphNode, planner: Planner): boolean {
  const [x = '', target] = inputsOf(node);
  const flow = planner.valueOf(x);
  const wanted = planner.numbersAt(target);
  if (flow?.kind !== 'flow' || wanted === undefined) {
    return false;
  }
  const rest = restOf(flow, wanted, planner);
  if (rest !== undefined && addReshape(node, rest, planner)) {
    return true;
  }
  const pattern = wanted.pair[0].map((size, i) => (wanted.sizes[i] === KNOWN ? size : -1));
  if (planner.valueOf(target)?.kind === 'shaped' && pattern.filter(size => size === -1).length === 1) {
    planOp(planner, {...node, input: [x, namedConstant(node, pattern, planner)]});
    return true;
  }
  return false;
}

/** The shape of a row after a Reshape that keeps the first axis, with at most one -1; `undefined` if unproved. */
function restOf({shapes, sizes}: Flow, target: Target, {frees}: Planner): number[] | undefined {
  const [first, ...rest] = target.pair[0].map((size, i) => (target.sizes[i] === KNOWN ? size : -1));
  const isKnown = sizes.slice(1).every(size => size === KNOWN);
  const row = tf.util.sizeFromShape(shapes[0].slice(1));
  const left = rest.filter(size => size === -1).length;
  const known = tf.util.sizeFromShape(rest.filter(size => size !== -1));
  const lead = target.sizes[0];
  const keeps =
    lead !== KNOWN
      ? lead === sizes[0]
      : first === -1
        ? left === 0 && isKnown && known === row
        : first === shapes[0][0] && (frees || sizes[0] === KNOWN);
  if (!keeps || left > 1 || (left === 0 && !(isKnown && known === row))) {
    return undefined;
  }
  const resolved = isKnown ? row / known : -1;
  return Number.isInteger(resolved) ? rest.map(size => (size === -1 ? resolved : size)) : undefined;
}

/** Plans a node that reshapes each row of its input. `false` if no layer does. */
function addReshape(node: GraphNode, rest: number[], planner: Planner): boolean {
  const [x = ''] = inputsOf(node);
  if (planner.floats(x) && rest.length > 0) {
    planner.addLayer(node, {className: 'Reshape', config: {targetShape: rest}, inputs: [x]});
    return true;
  }
  if (planner.frees && !rest.includes(-1)) {
    planOp(planner, {...node, op: 'Reshape', input: [x, namedConstant(node, [-1, ...rest], planner)]});
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
export function planSqueeze(node: GraphNode, planner: Planner): boolean {
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
  const rest = restOf(flow, target, planner);
  return rest !== undefined && addReshape(node, rest, planner);
}

/** The axes that a Squeeze keeps; `undefined` if that depends on open sizes. */
function squeezed(node: GraphNode, {shapes, sizes}: Flow, {frees}: Planner): number[] | undefined {
  const rank = sizes.length;
  const given = ['axis', 'squeeze_dims'].flatMap(key => numbersOf(node, key));
  const dropped = given.map(axis => (axis < 0 ? axis + rank : axis));
  // Without axes, a Squeeze drops all sizes of 1.
  const isExact = given.length > 0 || sizes.every(size => size === KNOWN || (frees && size === BATCH));
  const isKept = (axis: number) => (given.length > 0 ? !dropped.includes(axis) : shapes[0][axis] !== 1);
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
export function planTranspose(node: GraphNode, planner: Planner): boolean {
  const [x = '', order] = inputsOf(node);
  const dims = planner.numbers(order);
  if (planner.floats(x) === undefined || dims?.[0] !== 0 || dims.length < 2) {
    return false;
  }
  planner.addLayer(node, {className: 'Permute', config: {dims: dims.slice(1)}, inputs: [x]});
  return true;
}

/** A resize to a multiple of the size, as an `UpSampling2D`. */
export function planResize(interpolation: string): (node: GraphNode, planner: Planner) => boolean {
  return (node, planner) => {
    const [x = '', size] = inputsOf(node);
    const flow = planner.floats(x);
    const wanted = planner.numbersAt(size);
    if (!flow || !wanted || flagOf(node, 'align_corners') || flagOf(node, 'half_pixel_centers')) {
      return false;
    }
    const factors = [0, 1].map(axis => {
      const [current = KNOWN, target = KNOWN] = [flow.sizes[1 + axis], wanted.sizes[axis]];
      const {of, times, plus} = planner.open.lineOf(target);
      if (current === KNOWN) {
        return target === KNOWN ? (wanted.pair[0][axis] ?? 0) / (flow.shapes[0][1 + axis] ?? 1) : 0;
      }
      return of === current && plus === 0 ? times : 0;
    });
    if (factors.some(factor => !Number.isInteger(factor) || factor < 1)) {
      return false;
    }
    planner.addLayer(node, {className: 'UpSampling2D', config: {size: factors, interpolation}, inputs: [x]});
    return true;
  };
}
