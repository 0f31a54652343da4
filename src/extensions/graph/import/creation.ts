import * as tf from '@tensorflow/tfjs';
import {numberOf} from '../graphDef';
import {asFirst, asSecond, copied, INDEXED, product, sizeOf, valueOf, valuesOrNaN} from './bounds';
import {rowFor, type Operation, type ShapeRule, type Work} from './operation';
import {byFirst, isInside, mixed} from './rowRules';

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

/** tfjs computes the index of each value that it copies. */
const copying: Work = (_, __, size) => INDEXED * size;

/** Operations that create tensors of a given size, repeat values, or return sizes. */
export const CREATION: Readonly<Record<string, Operation>> = {
  ...rowFor('Fill Ones Zeros', {size: asFirst, rows: mixed}),
  BroadcastTo: {size: asSecond, rows: mixed, work: copying, shape: expanded},
  Tile: {
    size: ([x, multiples]) => sizeOf(x) * product(valuesOrNaN(multiples)),
    rows: subject => byFirst(subject) && subject.numbers(1)?.[0] === 1,
    work: copying,
    shape: tiled,
  },
  Range: {
    // tfjs counts down if a positive step of at most 1 leads away from the limit.
    size: ([start, limit, step]) => {
      const count = Math.ceil((valueOf(limit) - valueOf(start)) / valueOf(step) || Number.NaN);
      return valueOf(step) > 0 && valueOf(step) <= 1 ? Math.abs(count) : count;
    },
    rows: mixed,
  },
  LinSpace: {size: ([, , count]) => valueOf(count), rows: mixed},
  OneHot: {
    size: ([indices, depth]) => sizeOf(indices) * valueOf(depth),
    rows: subject => byFirst(subject) && isInside(numberOf(subject.node, 'axis', -1), (subject.ranks[0] ?? 0) + 1),
  },
  Shape: {size: ([x]) => x?.shape.length ?? 0, rows: mixed},
  ShapeN: {size: inputs => Math.max(0, ...inputs.map(({shape}) => shape.length)), rows: mixed},
  ...rowFor('Size Rank', {size: () => 1, rows: mixed}),
  Where: {size: ([x]) => sizeOf(x) * (x?.shape.length ?? 0), rows: mixed},
  BroadcastArgs: {size: inputs => Math.max(...inputs.map(sizeOf)), rows: mixed},
};
