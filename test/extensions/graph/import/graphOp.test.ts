import * as tf from '@tensorflow/tfjs';
import {GraphOp, type GraphFragment} from '../../../../src/extensions/graph/import/graphOp';
import {numbers, random, withoutLeaks} from '../../../helpers';

function layerOf(fragment: Partial<GraphFragment>, name = 'op'): GraphOp {
  const whole = {weights: [], constants: [], outputs: [{index: 0, dtype: 'float32'}], ...fragment};
  return new GraphOp({name, fragment: {name: JSON.stringify(whole)}});
}

const x0 = {name: 'x0', dtype: 'float32'} as const;

/** `x·w + c`, elementwise. */
const scaled = {
  node: {name: 'n', op: 'Mul', input: ['x0', 'w1']},
  inputs: [x0],
  weights: [{name: 'w1', dtype: 'float32' as const, shape: [3]}],
};

test('a node is computed with its weights and constants', () => {
  const layer = layerOf(scaled);
  const x = random([2, 3], 1);
  layer.apply(x);
  layer.setWeights([tf.tensor1d([1, 2, 3])]);
  expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(numbers(tf.mul(x, [1, 2, 3])));
  expect(layer.trainableWeights).toEqual([]);
});

test('its output shape is found out for shapes that it does not know', () => {
  const layer = layerOf({
    node: {name: 'n', op: 'ConcatV2', input: ['x0', 'x1', 'c2'], attr: {N: {i: '2'}}},
    inputs: [x0, {name: 'x1', dtype: 'float32'}],
    constants: [{name: 'c2', dtype: 'int32', shape: [], values: [1]}],
  });
  expect(
    layer.computeOutputShape([
      [null, 3],
      [null, 4],
    ]),
  ).toEqual([null, 7]);
});

test('outputs keep their types, and integers are not part of a gradient', () => {
  const top = layerOf({
    node: {name: 'n', op: 'TopKV2', input: ['x0', 'c1'], attr: {sorted: {b: true}}},
    inputs: [x0],
    constants: [{name: 'c1', dtype: 'int32', shape: [], values: [2]}],
    outputs: [
      {index: 0, dtype: 'float32'},
      {index: 1, dtype: 'int32'},
    ],
  });
  const [values, places] = top.apply(tf.input({shape: [4]})) as tf.SymbolicTensor[];
  expect([values!.dtype, places!.dtype]).toEqual(['float32', 'int32']);
  const greater = layerOf({
    node: {name: 'n', op: 'Greater', input: ['x0', 'c1']},
    inputs: [x0],
    constants: [{name: 'c1', dtype: 'float32', shape: [], values: [0]}],
    outputs: [{index: 0, dtype: 'bool'}],
  });
  const gradient = tf.grad(x => tf.sum(tf.mul(x, tf.cast(greater.apply(x) as tf.Tensor, 'float32'))))(
    tf.tensor2d([[1, -1]]),
  );
  expect(numbers(gradient)).toEqual([1, 0]);
});

test('Where gives the places of what is true', async () => {
  const layer = layerOf({
    node: {name: 'n', op: 'Where', input: ['x0']},
    inputs: [{name: 'x0', dtype: 'bool'}],
    outputs: [{index: 0, dtype: 'int32'}],
  });
  const condition = tf.tensor2d(
    [
      [1, 0, 1],
      [0, 0, 1],
    ],
    [2, 3],
    'bool',
  );
  const expected = await tf.whereAsync(condition);
  expect(numbers(layer.apply(condition) as tf.Tensor)).toEqual(numbers(expected));
});

test.each([
  ['_FusedHardSwish', [-1, 0.5, 4], [-1 / 3, (0.5 * 3.5) / 6, 4]],
  ['_FusedSwish', [0, 1], [0, 1 / (1 + Math.exp(-1))]],
] as const)('%s, which the executor does not know', (op, x, expected) => {
  const layer = layerOf({node: {name: 'n', op, input: ['x0']}, inputs: [x0]});
  expect(numbers(layer.apply(tf.tensor2d([[...x]])) as tf.Tensor)).toBeAllClose([...expected]);
});

test('products of integers are computed where the backend has those of floats alone', () => {
  const layer = layerOf({
    node: {name: 'n', op: 'MatMul', input: ['x0', 'c1']},
    inputs: [{name: 'x0', dtype: 'int32'}],
    constants: [{name: 'c1', dtype: 'int32', shape: [2, 1], values: [3, 5]}],
    outputs: [{index: 0, dtype: 'int32'}],
  });
  expect(numbers(layer.apply(tf.tensor2d([[2, 7]], [1, 2], 'int32')) as tf.Tensor)).toEqual([41]);
});

test('a call leaves nothing behind', async () => {
  const layer = layerOf(scaled);
  const x = random([2, 3], 1);
  layer.apply(x);
  await withoutLeaks(() => (layer.apply(x) as tf.Tensor).dispose());
});

describe('of a file from a stranger', () => {
  test.each([
    ['no JSON', '{'],
    ['no node', '{"inputs": []}'],
    ['no lists', '{"node": {"name": "n", "op": "Add"}}'],
    [
      'control flow',
      '{"node": {"name": "n", "op": "While"}, "inputs": [], "weights": [], "constants": [], "outputs": [{}]}',
    ],
    [
      'a random op',
      '{"node": {"name": "n", "op": "RandomUniform"}, "inputs": [], "weights": [], "constants": [], "outputs": ' +
        '[{}]}',
    ],
    [
      'a constant of other numbers than its shape says',
      '{"node": {"name": "n", "op": "Add"}, "inputs": [], "weights": [], "constants": [{"shape": [1000000000], ' +
        '"values": [1]}], "outputs": [{}]}',
    ],
  ])('%s is refused', (_, text) => {
    expect(() => new GraphOp({name: 'op', fragment: {name: text}})).toThrow(
      /config of layer "op" \(GraphOp\) is broken/,
    );
  });

  test.each([
    ['Fill', {op: 'Fill', input: ['c1', 'x0']}, [100_000, 100_000]],
    ['Tile', {op: 'Tile', input: ['x0', 'c1']}, [100_000, 100_000]],
    ['BroadcastTo', {op: 'BroadcastTo', input: ['x0', 'c1']}, [100_000, 100_000]],
    ['OneHot', {op: 'OneHot', input: ['x0', 'c1', 'x0', 'x0']}, [1_000_000_000]],
  ])('a %s that would fill the memory is not computed', (_, {op, input}, values) => {
    const layer = layerOf({
      node: {name: 'n', op, input},
      inputs: [x0],
      constants: [{name: 'c1', dtype: 'int32', shape: values.length > 1 ? [values.length] : [], values}],
    });
    expect(() => layer.call(tf.ones([1, 1]), {})).toThrow(/would return up to \d+ values, more than/);
  });
});
