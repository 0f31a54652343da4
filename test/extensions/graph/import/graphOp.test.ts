import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from 'tfjs-lora';
import {fromGraphModel, toGraphModel} from 'tfjs-lora/graph';
import {disposeModel} from '../../../../src/core/rewire/dispose';
import type {GraphNode} from '../../../../src/extensions/graph/graphDef';
import {type GraphFragment, GraphOp} from '../../../../src/extensions/graph/import/graphOp';
import {numbers, random, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';
import {graphOf, input, node} from '../graphs';

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

const x = () => random([3, 4], 1);

/** What TensorFlow 1 makes of `tf.cond(flag, train, predict)` around a product and its bias. */
function conditional(flag: GraphNode[] = []): GraphNode[] {
  return [
    input('x', [-1, 4]),
    ...flag,
    node('cond/pred_id', 'Identity', ['flag']),
    node('cond/Switch', 'Switch', ['flag', 'flag']),
    node('cond/switch_t', 'Identity', ['cond/Switch:1']),
    node('product', 'MatMul', ['x', 'kernel']),
    node('cond/train/Switch', 'Switch', ['product', 'cond/pred_id']),
    node('cond/noise', 'RandomUniform', ['dims', '^cond/switch_t'], {dtype: {type: 'DT_FLOAT'}}),
    node('cond/train', 'Mul', ['cond/train/Switch:1', 'cond/noise']),
    node('cond/predict/Switch', 'Switch', ['product', 'cond/pred_id']),
    node('cond/kernel/Switch', 'Switch', ['other', 'cond/pred_id']),
    node('cond/predict', 'MatMul', ['cond/predict/Switch', 'cond/kernel/Switch']),
    node('cond/Merge', 'Merge', ['cond/predict', 'cond/train']),
    node('y', 'Tanh', ['cond/Merge']),
  ];
}

const weights = () => ({
  kernel: random([4, 3], 2),
  other: random([3, 2], 3),
  dims: tf.tensor1d([3], 'int32'),
});

const no = () => tf.scalar(false, 'bool');

/** What an imported graph gives, and what tfjs gives for the graph. */
async function both(graph: tf.GraphModel): Promise<[ours: number[], theirs: number[]]> {
  const model = await fromGraphModel(graph);
  const theirs = (await graph.executeAsync({x: x()}, ['y'])) as tf.Tensor;
  return [numbers(model.predict(x()) as tf.Tensor), numbers(theirs)];
}

describe('control flow that a constant decides', () => {
  test('is left out: the way that is taken becomes layers, whatever is on the other', async () => {
    const graph = await graphOf(conditional(), {...weights(), flag: no()});
    const [ours, theirs] = await both(graph);
    expect(ours).toBeAllClose(theirs);
    const model = await fromGraphModel(graph);
    expect(model.layers.map(layer => `${layer.name} ${layer.getClassName().replace(/^tfjs-lora.*>/, '')}`)).toEqual([
      'x InputLayer',
      'product Dense',
      'cond/predict Dense',
      'y Activation',
    ]);
  });

  test.each([
    ['with a signature that does not name it', {inputs: {x: {name: 'x:0'}}, outputs: {y: {name: 'y:0'}}}],
    ['without a signature', undefined],
  ])('may hang on an input with a default, %s', async (_, signature) => {
    const flag = node('flag', 'PlaceholderWithDefault', ['default'], {dtype: {type: 'DT_BOOL'}, shape: {shape: {}}});
    const graph = await graphOf(conditional([flag]), {...weights(), default: no()}, signature);
    const [ours, theirs] = await both(graph);
    expect(ours).toBeAllClose(theirs);
    expect((await fromGraphModel(graph)).inputs.map(({shape}) => shape)).toEqual([[null, 4]]);
  });

  test('takes the other way where the constant says so, also if it is computed from others', async () => {
    const nodes = [
      input('x', [-1, 4]),
      node('not', 'LogicalNot', ['flag']),
      node('s', 'Switch', ['x', 'not']),
      node('neg', 'Neg', ['s']),
      node('twice', 'Add', ['s:1', 's:1']),
      node('y', 'Merge', ['neg', 'twice']),
    ];
    const [ours] = await both(await graphOf(nodes, {flag: no()}));
    expect(ours).toBeAllClose(numbers(x()).map(value => 2 * value));
  });

  test('knows which constants are on the way that is not taken, and which way a Merge took', async () => {
    const nodes = (names: string[]) => [
      input('x', [-1, 4]),
      node('s', 'Switch', ['flag', 'flag']),
      node('switch_t', 'Identity', ['s:1']),
      node('switch_f', 'Identity', ['s']),
      node('one', 'Const', ['^switch_t']),
      node('ten', 'Const', ['^switch_f']),
      node('m', 'Merge', names),
      node('index', 'Cast', ['m:1'], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
      node('sum', 'AddV2', ['m', 'index']),
      node('y', 'Mul', ['x', 'sum']),
    ];
    const constants = () => ({flag: no(), one: tf.scalar(1), ten: tf.scalar(10)});
    for (const [names, factor] of [
      [['one', 'ten'], 11],
      [['ten', 'one'], 10],
    ] as [string[], number][]) {
      // prettier-ignore
      const model = await fromGraphModel(await graphOf(nodes(names), constants()));
      expect(numbers(model.predict(x()) as tf.Tensor)).toBeAllClose(numbers(x()).map(value => factor * value));
    }
  });

  test('goes through conditions within conditions', async () => {
    const nodes = [
      input('x', [-1, 4]),
      node('outer', 'Switch', ['x', 'flag']),
      node('inner', 'Switch', ['outer:1', 'flag']),
      node('a', 'Neg', ['inner']),
      node('b', 'Exp', ['inner:1']),
      node('ab', 'Merge', ['a', 'b']),
      node('c', 'Sigmoid', ['outer']),
      node('y', 'Merge', ['ab', 'c']),
    ];
    const [ours] = await both(await graphOf(nodes, {flag: no()}));
    expect(ours).toBeAllClose(numbers(tf.sigmoid(x())));
  });

  test('stays in the graph that is written back, and what trained is on the way that is taken', async () => {
    const graph = await graphOf(conditional(), {...weights(), flag: no()});
    const model = applyLoRA(await fromGraphModel(graph), {rank: 1});
    stirFactors(model);
    const written = await toGraphModel(model, graph);
    const theirs = (await written.executeAsync({x: x()}, ['y'])) as tf.Tensor;
    const before = (await graph.executeAsync({x: x()}, ['y'])) as tf.Tensor;
    expect(numbers(theirs)).toBeAllClose(numbers(model.predict(x()) as tf.Tensor));
    expect(numbers(theirs)).not.toBeAllClose(numbers(before));
  });
});

test('a condition on an input is refused, and so is an output on a way that is not taken', async () => {
  const asked = await graphOf(
    [input('x', [-1, 4]), input('flag', [], 'DT_BOOL'), ...conditional().slice(1)],
    weights(),
  );
  const decided = await graphOf(conditional(), {...weights(), flag: no()});
  await withoutLeaks(async () => {
    await expect(fromGraphModel(asked)).rejects.toThrow(/Switch "cond\/Switch": The node decides at run time/);
    await expect(fromGraphModel(decided, {outputs: ['cond/train']})).rejects.toThrow(
      /Mul "cond\/train": The node is in a branch that a constant does not take/,
    );
  });
});

test('an import of decided control flow leaves nothing behind', async () => {
  const graph = await graphOf(conditional(), {...weights(), flag: no()});
  await withoutLeaks(async () => disposeModel(await fromGraphModel(graph)));
});
