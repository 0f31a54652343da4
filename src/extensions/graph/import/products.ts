import * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode, inputsOf, textOf} from '../graphDef';
import {knownShape, type Planner} from './planner';
import {finishTail, tailOf} from './tail';

/** A product with a constant matrix, as a `Dense`. */
export function planMatMul(node: GraphNode, planner: Planner): boolean {
  const [x = '', matrix] = inputsOf(node);
  const tensor = planner.constant(matrix);
  const flow = planner.floats(x);
  const isBatched = node.op.startsWith('BatchMatMul');
  const flag = isBatched ? 'adj_y' : 'transpose_b';
  if (!flow || tensor?.rank !== 2 || tensor.dtype !== 'float32' || flagOf(node, isBatched ? 'adj_x' : 'transpose_a')) {
    return false;
  }
  const transposed = flagOf(node, flag);
  const kernel = transposed ? planner.derive(tensor, 'transposed', () => tf.transpose(tensor)) : tensor;
  const units = kernel.shape[1] as number;
  const tail = tailOf(node, {filters: units, from: 2}, planner);
  if (tail === undefined) {
    return false;
  }
  const {bias, activation} = tail;
  planner.addLayer(node, {
    className: 'Dense',
    config: {units, useBias: bias !== undefined, activation},
    inputs: [x],
    weights: {
      kernel: {tensor: kernel, source: {node: node.name, index: 1, ...(transposed && {transposedBy: flag})}},
      bias,
    },
  });
  finishTail(node, tail, planner);
  return true;
}

/** An Einsum that sums over the last axes with a constant, as in attention: a `Dense` between two `Reshape`. */
export function planEinsum(node: GraphNode, planner: Planner): boolean {
  const [x = '', matrix] = inputsOf(node);
  const tensor = planner.constant(matrix);
  const flow = planner.floats(x);
  const letters = /^([a-z]+),([a-z]+)->([a-z]+)$/i.exec(textOf(node, 'equation').replace(/\s/g, ''))?.slice(1);
  if (!flow || tensor?.dtype !== 'float32' || letters === undefined) {
    return false;
  }
  const [left = '', right = '', result = ''] = letters;
  const summed = Array.from(left)
    .filter(letter => right.includes(letter))
    .join('');
  const kept = left.slice(0, left.length - summed.length);
  const added = right.slice(summed.length);
  const isProjection = left === kept + summed && right === summed + added && result === kept + added;
  const isPlain = new Set(kept + summed + added).size === left.length + added.length;
  if (!isProjection || !isPlain || summed === '' || added === '' || kept === '') {
    return false;
  }
  const sizes = knownShape(flow)
    .slice(1, kept.length)
    .map(size => size ?? -1);
  if (sizes.filter(size => size === -1).length > 1) {
    return false; // a Reshape can infer only one size
  }
  const fanIn = tf.util.sizeFromShape(tensor.shape.slice(0, summed.length));
  const outs = tensor.shape.slice(summed.length);
  const units = tf.util.sizeFromShape(outs);
  const kernel =
    tensor.rank === 2 ? tensor : planner.derive(tensor, `${fanIn} rows`, () => tf.reshape(tensor, [fanIn, units]));
  const reshape = (part: string, input: string, targetShape: number[]) =>
    planner.addLayer(node, {part, className: 'Reshape', config: {targetShape}, inputs: [input]});
  if (summed.length > 1) {
    reshape('flat', x, [...sizes, fanIn]);
  }
  planner.addLayer(node, {
    className: 'Dense',
    config: {units, useBias: false, activation: 'linear'},
    inputs: [summed.length > 1 ? node.name : x],
    weights: {kernel: {tensor: kernel, source: {node: node.name, index: 1, shape: tensor.shape}}},
  });
  if (outs.length > 1) {
    reshape('split', node.name, [...sizes, ...outs]);
  }
  return true;
}
