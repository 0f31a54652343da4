import * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode, inputsOf} from './graphDef';
import {planOp, runProbe} from './planOp';
import type {Planner} from './planner';
import type {Flow} from './values';

/** A Reshape that leaves the batch alone, as a layer; one in which one size is open, as an op that works it out. */
export function planReshape(node: GraphNode, planner: Planner): boolean {
  const [x = '', target] = inputsOf(node);
  const value = planner.valueOf(x);
  const targets = planner.numbersAt(target);
  if (value?.kind !== 'flow' || targets === undefined) {
    return false;
  }
  const flow = planner.floats(x);
  const shapes = ([0, 1] as const).map(p => resolved(value.shapes[p], targets[p], planner.frees));
  if (flow && shapes[0] && shapes[1] && addReshape(node, x, flow, [shapes[0], shapes[1]], planner)) {
    return true;
  }
  const pattern = targets[0].map((size, i) => (size === targets[1][i] ? size : -1));
  if (planner.valueOf(target)?.kind === 'shaped' && pattern.filter(size => size === -1).length === 1) {
    const name = `${node.name}/shape`;
    const tensor = planner.keep(tf.tensor1d(pattern, 'int32'));
    planner.values.set(`${name}:0`, {kind: 'constant', tensor, values: pattern});
    planOp(planner, {...node, input: [x, name]});
    return true;
  }
  return false;
}

/** The shape that a target asks for, with what it leaves open. The leading 1 of a graph for one example is the batch where that is freed. */
function resolved(shape: readonly number[], target: readonly number[], frees: boolean): number[] | undefined {
  const size = tf.util.sizeFromShape([...shape]);
  const fill = (sizes: readonly number[]) => {
    const known = sizes.reduce((total, each) => (each === -1 ? total : total * each), 1);
    return sizes.map(each => (each === -1 ? size / known : each));
  };
  const filled = fill(target);
  const isWhole = (sizes: number[]) => sizes.every(Number.isInteger) && tf.util.sizeFromShape(sizes) === size;
  const batch = shape[0] ?? 1;
  if (isWhole(filled) && filled[0] === batch) {
    return filled;
  }
  const freed = fill([batch, ...target.slice(1)]);
  return frees && target[0] === 1 && isWhole(freed) ? freed : isWhole(filled) ? filled : undefined;
}

/** A Reshape or Squeeze to known shapes, as a layer, if it keeps the batch and leaves one size open at most. */
function addReshape(
  node: GraphNode,
  x: string,
  flow: Flow,
  [one, other]: readonly [number[], number[]],
  planner: Planner,
): boolean {
  const keepsBatch = one.length > 1 && one[0] === flow.shapes[0][0] && other[0] === flow.shapes[1][0];
  const targetShape = one.slice(1).map((size, i) => (size === other[i + 1] ? size : -1));
  if (!keepsBatch || targetShape.filter(size => size === -1).length > 1 || one.length !== other.length) {
    return false;
  }
  planner.addLayer(node, {className: 'Reshape', config: {targetShape}, inputs: [x]});
  return true;
}

/** A Squeeze or ExpandDims that leaves the batch alone. */
export function planSqueeze(node: GraphNode, planner: Planner): boolean {
  const [x = '', axis] = inputsOf(node);
  const flow = planner.floats(x);
  const constant = planner.constant(axis);
  if (flow === undefined || (axis !== undefined && constant === undefined)) {
    return false;
  }
  const shapes = ([0, 1] as const).map(p =>
    tf.tidy(() => {
      const zeros = tf.zeros(flow.shapes[p]);
      return runProbe(planner, node, constant ? [zeros, constant] : [zeros])[0]?.shape ?? [];
    }),
  ) as [number[], number[]];
  return addReshape(node, x, flow, shapes, planner);
}

/** A Transpose that leaves the batch alone, as a `Permute`. */
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
    const sizes = planner.numbersAt(size);
    if (!flow || !sizes || flagOf(node, 'align_corners') || flagOf(node, 'half_pixel_centers')) {
      return false;
    }
    const factors = ([0, 1] as const).map(p =>
      [0, 1].map(axis => (sizes[p][axis] ?? 0) / (flow.shapes[p][1 + axis] ?? 1)),
    ) as [number[], number[]];
    const fits = factors[0].every((factor, axis) => Number.isInteger(factor) && factor === factors[1][axis]);
    if (!fits || factors[0].some(factor => factor < 1)) {
      return false;
    }
    planner.addLayer(node, {className: 'UpSampling2D', config: {size: factors[0], interpolation}, inputs: [x]});
    return true;
  };
}
