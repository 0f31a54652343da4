import * as tf from '@tensorflow/tfjs';
import type {GraphAttribute} from '../../../../src/extensions/graph/graphDef';
import {shapeByRule} from '../../../../src/extensions/graph/import/shapeRules';
import {graphOf, runNode} from '../../../../src/extensions/graph/layers/graphOp';
import {useBackend} from '../../../helpers';

beforeEach(() => useBackend('cpu'));

const floats = (...shape: number[]) => tf.zeros(shape);
const ints = (...values: number[]) => tf.tensor1d(values, 'int32');
const int = (value: number) => tf.scalar(value, 'int32');

/** What tfjs returns, and what the rule says of it. */
function shapesOf(op: string, tensors: readonly tf.Tensor[], attr: Record<string, GraphAttribute>) {
  return tf.tidy(() => {
    const names = tensors.map((_, i) => `x${i}`);
    const node = {name: 'n', op, input: names, attr};
    const feed = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]));
    const [result] = runNode(graphOf(node), {node, outputs: [{index: 0, dtype: 'float32'}]}, feed);
    const inputs = tensors.map(({shape, dtype}, i) => ({
      shape,
      dtype,
      ...(dtype === 'int32' && {values: tensors[i]!.dataSync()}),
    }));
    return {run: [result!.dtype, result!.shape], rule: ['float32', shapeByRule(node, inputs)]};
  });
}

test.each<[op: string, inputs: () => tf.Tensor[], attr?: Record<string, GraphAttribute>]>([
  ['AddV2', () => [floats(2, 1, 4), floats(3, 1)]],
  ['Mul', () => [floats(), floats(2, 3)]],
  ['Sigmoid', () => [floats(2, 3)]],
  ['Softmax', () => [floats(2, 3, 4)]],
  ['Pow', () => [floats(2, 3), floats(3)]],
  ['BatchMatMulV2', () => [floats(2, 3, 4), floats(4, 5)]],
  ['BatchMatMulV2', () => [floats(2, 4, 3), floats(2, 5, 4)], {adj_x: {b: true}, adj_y: {b: true}}],
  ['BroadcastTo', () => [floats(3, 1), ints(2, 3, 4)]],
  ['SelectV2', () => [tf.zeros([3, 1], 'bool'), floats(2, 1, 4), floats()]],
  ['Tile', () => [floats(2, 1, 3), ints(1, 4, 2)]],
  ['ConcatV2', () => [floats(2, 3, 4), floats(2, 5, 4), int(1)], {N: {i: 2}}],
  ['ConcatV2', () => [floats(2, 3), floats(2, 1), floats(2, 2), int(-1)], {N: {i: 3}}],
  ['Max', () => [floats(2, 3, 4), ints(0, -1)]],
  ['Mean', () => [floats(2, 3, 4), int(1)], {keep_dims: {b: true}}],
  ['Sum', () => [floats(2, 3), ints(0, 1)]],
  [
    'MirrorPad',
    () => [floats(1, 5, 5, 2), tf.tensor2d([0, 0, 1, 2, 2, 1, 0, 0], [4, 2], 'int32')],
    {mode: {s: btoa('REFLECT')}},
  ],
  ['PadV2', () => [floats(2, 3), tf.tensor2d([0, 1, 2, 3], [2, 2], 'int32'), tf.scalar(7)]],
  ['ResizeBilinear', () => [floats(2, 4, 5, 3), ints(8, 3)]],
  ['ResizeNearestNeighbor', () => [floats(2, 4, 5, 3), ints(8, 3)]],
  ['Transpose', () => [floats(2, 3, 4), ints(2, 0, 1)]],
])('the rule for %s gives the shape that tfjs computes', (op, inputs, attr = {}) => {
  tf.tidy(() => {
    const {run, rule} = shapesOf(op, inputs(), attr);
    expect(rule).toEqual(run);
  });
});

test.each<[why: string, op: string, inputs: {shape: number[]; dtype: tf.DataType; values?: number[]}[]]>([
  ['integers', 'AddV2', [{shape: [2], dtype: 'int32'}]],
  [
    'integers that are known',
    'AddV2',
    [
      {shape: [2], dtype: 'float32'},
      {shape: [1], dtype: 'int32', values: [1]},
    ],
  ],
  [
    'axes that are not known',
    'Sum',
    [
      {shape: [2, 3], dtype: 'float32'},
      {shape: [1], dtype: 'int32'},
    ],
  ],
  [
    'more axes than every backend copies',
    'Tile',
    [
      {shape: [2, 1, 1, 1, 1], dtype: 'float32'},
      {shape: [5], dtype: 'int32', values: [1, 2, 2, 1, 1]},
    ],
  ],
  [
    'a shape that values do not broadcast to',
    'BroadcastTo',
    [
      {shape: [2, 3], dtype: 'float32'},
      {shape: [2], dtype: 'int32', values: [2, 1]},
    ],
  ],
  [
    'a choice between integers',
    'SelectV2',
    [
      {shape: [2], dtype: 'bool'},
      {shape: [2], dtype: 'int32', values: [1, 2]},
      {shape: [2], dtype: 'int32', values: [1, 2]},
    ],
  ],
  [
    'sizes that do not fit',
    'BatchMatMulV2',
    [
      {shape: [2, 3], dtype: 'float32'},
      {shape: [2, 3], dtype: 'float32'},
    ],
  ],
  [
    'parts that do not fit',
    'ConcatV2',
    [
      {shape: [2, 3], dtype: 'float32'},
      {shape: [3, 3], dtype: 'float32'},
      {shape: [], dtype: 'int32', values: [1]},
    ],
  ],
  ['an op without a rule', 'constructor', [{shape: [2], dtype: 'float32'}]],
])('no rule tells the shape of %s', (_, op, inputs) => {
  expect(shapeByRule({name: 'n', op}, inputs)).toBeUndefined();
});

test('shapes that cannot be broadcast are an error, as in tfjs', () => {
  const inputs = [2, 3].map(size => ({shape: [size], dtype: 'float32' as const}));
  expect(() => shapeByRule({name: 'n', op: 'AddV2'}, inputs)).toThrow('could not be broadcast');
});
