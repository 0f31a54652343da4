import * as tf from '@tensorflow/tfjs';
import {applyLoRA, LoRAError, mergeLoRA, removeLoRA, replaceHead, summarizeLoRA} from 'tfjs-lora';
import {fromGraphModel, toGraphModel} from 'tfjs-lora/graph';
import type {GraphOp} from '../../../../src/extensions/graph/import/graphOp';
import type {GraphNode} from '../../../../src/extensions/graph/graphDef';
import {disposeModel} from '../../../../src/core/rewire/dispose';
import {numbers, random, useBackend, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';
import {converted, convolution, graphOf, input, node, outputsOf, reloaded} from '../graphs';

/** A graph for one image: a convolution, what no layer computes, and a product behind two calls. */
function small(): Promise<tf.GraphModel> {
  const call = 'StatefulPartitionedCall/PartitionedCall/';
  return graphOf(
    [
      input('x', [1, 6, 6, 2]),
      node('conv', 'Conv2D', ['x', 'k'], convolution({strides: [2, 2]})),
      node('relu', 'Relu', ['conv']),
      node('half', 'Mul', ['relu', 'factor']),
      node('flat', 'Reshape', ['half', 'shape']),
      node(`${call}dense/MatMul`, 'MatMul', ['flat', 'w']),
      node(`${call}dense/BiasAdd`, 'BiasAdd', [`${call}dense/MatMul`, 'b']),
      node('y', 'Identity', [`${call}dense/BiasAdd`]),
    ],
    {
      k: random([3, 3, 2, 4], 1, 0.3),
      factor: random([4], 5),
      shape: tf.tensor1d([1, 36], 'int32'),
      w: random([36, 3], 2, 0.3),
      b: random([3], 3),
    },
  );
}

const x = (n = 1) => random([n, 6, 6, 2], 9);

test('an imported model computes what the graph computes, and shares its buffers', async () => {
  const graph = await small();
  const before = tf.memory().numDataBuffers;
  const model = await fromGraphModel(graph);
  expect(tf.memory().numDataBuffers).toBe(before);
  const one = x();
  expect(numbers(model.predict(one) as tf.Tensor)).toBeAllClose(numbers(outputsOf(graph, {x: one})[0]!));
  expect(model.layers.map(layer => `${layer.name} ${layer.getClassName().replace(/^tfjs-lora.*>/, '')}`)).toEqual([
    'x InputLayer',
    'conv Conv2D',
    'half GraphOp',
    'flat Reshape',
    'dense/MatMul Dense',
  ]);
});

test('a batch size of one is freed: each example is computed by itself', async () => {
  const model = await fromGraphModel(await small());
  expect(model.inputs[0]!.shape).toEqual([null, 6, 6, 2]);
  const batch = x(3);
  const rows = [0, 1, 2].flatMap(i => numbers(model.predict(tf.slice(batch, i, 1)) as tf.Tensor));
  expect(numbers(model.predict(batch) as tf.Tensor)).toBeAllClose(rows);
});

test.each([
  ['a softmax over the examples', node('t', 'Transpose', ['x', 'with']), [1, 0]],
  ['a sum of them', node('t', 'Sum', ['x', 'with'], {keep_dims: {b: true}}), [0]],
  ['the first', node('t', 'GatherV2', ['x', 'with', 'with']), 0],
])('a batch size stays where the graph computes %s', async (_, first, values) => {
  const nodes = [input('x', [1, 4]), first, node('u', 'ExpandDims', ['t', 'last']), node('y', 'Softmax', ['u'])];
  const model = await fromGraphModel(
    await graphOf(nodes, {with: tf.tensor(values, undefined, 'int32'), last: tf.scalar(-1, 'int32')}),
  );
  expect(model.inputs[0]!.shape).toEqual([1, 4]);
});

describe('a batch size is freed where it is proved that each example is computed by itself:', () => {
  const x24 = () => random([2, 4], 1);
  const reduced = (from: string) => node('s', 'StridedSlice', [from, 'zero', 'three', 'one']);
  const ends = () => ({
    zero: tf.tensor1d([0], 'int32'),
    three: tf.tensor1d([3], 'int32'),
    one: tf.tensor1d([1], 'int32'),
  });

  /** A model that takes the graph's own batch, gives what the graph gives, and refuses another batch. */
  async function stays(nodes: GraphNode[], constants: Record<string, tf.Tensor>, given: tf.Tensor): Promise<void> {
    const graph = await graphOf(nodes, constants);
    const model = await fromGraphModel(graph);
    const [rows = 1] = given.shape;
    expect(model.inputs[0]!.shape[0]).toBe(rows);
    const [expected] = outputsOf(graph, {x: given});
    const actual = model.predict(given) as tf.Tensor;
    expect(actual.shape).toEqual(expected!.shape);
    expect(numbers(actual)).toBeAllClose(numbers(expected!));
    const more = tf.concat([given, given]);
    expect(() => model.predict(more)).toThrow(LoRAError);
    expect(() => model.predict(more)).toThrow(new RegExp(`${rows} at a time, {batchSize: ${rows}}`));
    expect(numbers(model.predict(more, {batchSize: rows}) as tf.Tensor)).toBeAllClose([
      ...numbers(expected!),
      ...numbers(expected!),
    ]);
  }

  test('two rows that become one stay two', async () => {
    const nodes = [input('x', [2, 4]), node('r', 'Reshape', ['x', 'shape']), node('y', 'Softmax', ['r'])];
    await stays(nodes, {shape: tf.tensor1d([1, -1], 'int32')}, x24());
  });

  test.each([
    ['a row without its axis', [node('y', 'Squeeze', ['x'])], () => ({})],
    ['a part of it', [node('q', 'Squeeze', ['x']), reduced('q')], ends],
    ['a Reshape of it', [node('y', 'Reshape', ['x', 'shape'])], () => ({shape: tf.tensor1d([5], 'int32')})],
    [
      'what stands before it, as the class token of a transformer',
      [node('y', 'ConcatV2', ['token', 'x', 'axis'])],
      () => ({token: random([1, 3], 2), axis: tf.scalar(1, 'int32')}),
    ],
  ])('%s needs the batch of one', async (_, nodes, constants) => {
    await stays([input('x', [1, 5]), ...nodes], constants(), random([1, 5], 1));
  });

  test(
    'products of which an operand has fewer matrices need the batch, since kernels count them through ' + 'all rows',
    async () => {
      const nodes = [
        input('x', [1, 3, 2, 2]),
        node('few', 'Max', ['x', 'axis'], {keep_dims: {b: true}}),
        node('y', 'BatchMatMulV2', ['x', 'few']),
      ];
      await stays(nodes, {axis: tf.scalar(1, 'int32')}, random([1, 3, 2, 2], 1));
    },
  );

  test.each<[op: string, constants: () => Record<string, tf.Tensor>]>([
    ['EuclideanNorm', () => ({a: tf.tensor1d([2], 'int32')})],
    ['MatrixBandPart', () => ({a: tf.scalar(1, 'int32'), b: tf.scalar(0, 'int32')})],
    ['FakeQuantWithMinMaxVars', () => ({a: tf.scalar(-1), b: tf.scalar(1)})],
  ])('a %s computes each example by itself', async (op, constants) => {
    const names = Object.keys(constants());
    const graph = await graphOf([input('x', [1, 3, 3]), node('y', op, ['x', ...names])], constants());
    const model = await fromGraphModel(graph);
    expect(model.inputs[0]!.shape).toEqual([null, 3, 3]);
    const both = random([2, 3, 3], 1);
    const rows = [0, 1].flatMap(i => numbers(outputsOf(graph, {x: tf.slice(both, i, 1)}, ['y'])[0]!));
    expect(numbers(model.predict(both) as tf.Tensor)).toBeAllClose(rows);
  });

  test.each([
    [
      'a sum over a number of values',
      [
        node('size', 'Size', ['x']),
        cast('size'),
        node('sum', 'Sum', ['x', 'axis']),
        node('y', 'RealDiv', ['sum', 'f']),
      ],
      () => ({axis: tf.scalar(1, 'int32')}),
    ],
    [
      'a product with the number of rows',
      [node('shape', 'Shape', ['x']), reducedTo('shape'), cast('size'), node('y', 'Mul', ['x', 'f'])],
      () => ({zero: tf.tensor1d([0], 'int32'), one: tf.tensor1d([1], 'int32')}),
    ],
  ])('%s does not hang on how many rows come together', async (_, nodes, constants) => {
    const graph = await graphOf([input('x', [1, 4]), ...nodes], constants());
    const model = await fromGraphModel(graph);
    expect(model.inputs[0]!.shape).toEqual([null, 4]);
    const rows = [0, 1].flatMap(i => numbers(outputsOf(graph, {x: tf.slice(x24(), i, 1)}, ['y'])[0]!));
    expect(numbers(model.predict(x24()) as tf.Tensor)).toBeAllClose(rows);
  });

  function cast(from: string): GraphNode {
    return node('f', 'Cast', [from], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}});
  }

  function reducedTo(from: string): GraphNode {
    return node('size', 'StridedSlice', [from, 'zero', 'one', 'one'], {shrink_axis_mask: {i: '1'}});
  }
});

test('a size that is the same for most batches is looked at in each', async () => {
  // The first two rows are one in a batch of one, though nothing but their number is used.
  const nodes = [
    input('x', [-1, 2]),
    node('first', 'StridedSlice', ['x', 'zero', 'two', 'one']),
    node('shape', 'Shape', ['first']),
    node('rows', 'StridedSlice', ['shape', 'zero', 'one', 'one'], {shrink_axis_mask: {i: '1'}}),
    node('f', 'Cast', ['rows'], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
    node('y', 'Mul', ['x', 'f']),
  ];
  const graph = await graphOf(nodes, {
    zero: tf.tensor1d([0], 'int32'),
    one: tf.tensor1d([1], 'int32'),
    two: tf.tensor1d([2], 'int32'),
  });
  const model = await fromGraphModel(graph);
  expect(numbers(model.predict(tf.ones([3, 2])) as tf.Tensor)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(() => model.predict(tf.ones([1, 2]))).toThrow(
    /"first" \(StridedSlice\) gives \[1, 2\] where the import has \[2, 2\]/,
  );
});

test('a number that is made of an open size is worked out in each batch', async () => {
  const nodes = [
    input('x', [-1, 2]),
    node('shape', 'Shape', ['x']),
    node('rows', 'StridedSlice', ['shape', 'zero', 'one', 'one'], {shrink_axis_mask: {i: '1'}}),
    node('few', 'Minimum', ['rows', 'two']),
    node('f', 'Cast', ['few'], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
    node('y', 'Mul', ['x', 'f']),
  ];
  const graph = await graphOf(nodes, {
    zero: tf.tensor1d([0], 'int32'),
    one: tf.tensor1d([1], 'int32'),
    two: tf.scalar(2, 'int32'),
  });
  const model = await fromGraphModel(graph);
  expect(numbers(model.predict(tf.ones([1, 2])) as tf.Tensor)).toEqual([1, 1]);
  expect(numbers(model.predict(tf.ones([3, 2])) as tf.Tensor)).toEqual([2, 2, 2, 2, 2, 2]);
});

describe('a tensor under two names', () => {
  const r = node('r', 'Relu', ['x']);
  const alias = node('i', 'Identity', ['r']);

  test.each([
    [
      'is two outputs',
      ['r', 'i'],
      [
        [1, 0],
        [1, 0],
      ],
    ],
    [
      'is the input and an output',
      ['x', 'r'],
      [
        [1, -2],
        [1, 0],
      ],
    ],
  ])('%s', async (_, outputs, expected) => {
    const graph = await graphOf([input('x', [-1, 2]), r, alias]);
    const model = await fromGraphModel(graph, {outputs});
    const x = tf.tensor2d([[1, -2]]);
    expect((model.predict(x) as tf.Tensor[]).map(numbers)).toEqual(expected);
    const written = await toGraphModel(model, graph);
    expect(outputsOf(written, {x}, outputs).map(numbers)).toEqual(expected);
  });

  test.each([
    ['Sub', [0, 0]],
    ['AddV2', [2, 0]],
  ])('is both operands of %s', async (op, expected) => {
    const model = await fromGraphModel(await graphOf([input('x', [-1, 2]), r, alias, node('y', op, ['i', 'r'])]));
    expect(numbers(model.predict(tf.tensor2d([[1, -2]])) as tf.Tensor)).toEqual(expected);
  });
});

test('outputs of one node are told apart by a signature', async () => {
  const graph = await graphOf(
    [input('x', [-1, 4]), node('s', 'Split', ['axis', 'x'], {num_split: {i: '2'}})],
    {axis: tf.scalar(1, 'int32')},
    {inputs: {x: {name: 'x:0'}}, outputs: {left: {name: 's:0'}, right: {name: 's:1'}}},
  );
  const model = await fromGraphModel(graph);
  expect((model.predict(tf.tensor2d([[1, 2, 3, 4]])) as tf.Tensor[]).map(numbers)).toEqual([
    [1, 2],
    [3, 4],
  ]);
});

test('a chain too long for tfjs is refused, and leaves nothing', async () => {
  const nodes = [input('n0', [-1, 2]), ...Array.from({length: 9000}, (_, i) => node(`n${i + 1}`, 'Relu', [`n${i}`]))];
  const graph = await graphOf(nodes);
  await withoutLeaks(async () => {
    await expect(fromGraphModel(graph)).rejects.toThrow('tfjs cannot connect 9000 layers in a row');
  });
});

test('a node may be called as a layer calls its inputs', async () => {
  const nodes = [input('x', [-1, 2]), node('x0', 'Abs', ['x']), node('y', 'Abs', ['x0'])];
  const model = await fromGraphModel(await graphOf(nodes));
  expect(numbers(model.predict(tf.tensor2d([[1, -2]])) as tf.Tensor)).toEqual([1, 2]);
});

test('tensors are joined along an axis that is counted from the last', async () => {
  const graph = await graphOf(
    [input('x', [-1, 1, 2]), node('a', 'Tanh', ['x']), node('y', 'ConcatV2', ['x', 'a', 'axis'])],
    {axis: tf.scalar(-2, 'int32')},
  );
  const x = random([2, 1, 2], 1);
  const model = await fromGraphModel(graph);
  const [expected] = outputsOf(graph, {x});
  expect((model.predict(x) as tf.Tensor).shape).toEqual([2, 2, 2]);
  expect(numbers(model.predict(x) as tf.Tensor)).toBeAllClose(numbers(expected!));
});

test('a layer whose shape alone is used is left out, and leaves nothing behind', async () => {
  const nodes = [
    input('x', [-1, 2]),
    node('dead', 'MatMul', ['x', 'k']),
    node('shape', 'Shape', ['dead']),
    node('columns', 'StridedSlice', ['shape', 'one', 'two', 'one']),
    node('sum', 'Sum', ['columns', 'zero']),
    node('f', 'Cast', ['sum'], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
    node('y', 'Mul', ['x', 'f']),
  ];
  const graph = await graphOf(nodes, {
    k: random([2, 3], 1),
    zero: tf.scalar(0, 'int32'),
    one: tf.tensor1d([1], 'int32'),
    two: tf.tensor1d([2], 'int32'),
  });
  await withoutLeaks(async () => {
    const model = await fromGraphModel(graph);
    expect(model.layers.map(({name}) => name)).toEqual(['x', 'y']);
    disposeModel(model);
  });
});

test('a model works on when its graph is disposed', async () => {
  const graph = await small();
  const model = await fromGraphModel(graph);
  const one = x();
  const expected = numbers(outputsOf(graph, {x: one})[0]!);
  graph.dispose();
  expect(numbers(model.predict(one) as tf.Tensor)).toBeAllClose(expected);
});

test('import and dispose leave nothing behind', async () => {
  const graph = await small();
  await withoutLeaks(async () => disposeModel(await fromGraphModel(graph)));
});

test('a model is adapted, trained, merged and reloaded', async () => {
  const graph = await small();
  const base = await fromGraphModel(graph);
  const model = applyLoRA(base, {rank: 2, seed: 1});
  expect(summarizeLoRA(model).layers.map(({path}) => path)).toEqual(['conv', 'dense/MatMul']);
  const batch = x(4);
  expect(numbers(model.predict(batch) as tf.Tensor)).toEqual(numbers(base.predict(batch) as tf.Tensor));
  model.compile({optimizer: tf.train.adam(0.02), loss: 'meanSquaredError'});
  const y = random([4, 3], 4);
  const {history} = await model.fit(batch, y, {epochs: 8, batchSize: 4, shuffle: false, verbose: 0});
  expect(history.loss!.at(-1)).toBeLessThan((history.loss![0] as number) * 0.9);
  const trained = numbers(model.predict(batch) as tf.Tensor);
  expect(numbers(mergeLoRA(model).predict(batch) as tf.Tensor)).toBeAllClose(trained);
  expect(numbers((await reloaded(model)).predict(batch) as tf.Tensor)).toEqual(trained);
  expect(numbers(removeLoRA(model).predict(batch) as tf.Tensor)).toEqual(numbers(base.predict(batch) as tf.Tensor));
});

test('a part is imported by the names of its nodes, with the calls around them or without', async () => {
  const graph = await small();
  const shapes = {flat: [36]};
  for (const name of ['dense/BiasAdd', 'StatefulPartitionedCall/PartitionedCall/dense/BiasAdd']) {
    const model = await fromGraphModel(graph, {inputs: ['flat'], outputs: [name], inputShapes: shapes});
    const flat = random([2, 36], 4);
    const [expected] = outputsOf(graph, {flat: tf.slice(flat, 0, 1)}, ['y']);
    expect(numbers(tf.slice(model.predict(flat) as tf.Tensor, 0, 1))).toBeAllClose(numbers(expected!));
  }
});

test('a new head is put on a part', async () => {
  const body = await fromGraphModel(await small(), {outputs: ['half']});
  const head = [tf.layers.globalAveragePooling2d({name: 'pool'}), tf.layers.dense({units: 2, name: 'classes'})];
  const model = applyLoRA(replaceHead(body, head, {after: 'half'}), {rank: 1, seed: 1});
  expect(summarizeLoRA(model).layers.map(({path}) => path)).toEqual(['conv']);
  expect(model.getLayer('classes').trainableWeights).toHaveLength(2);
});

test('wrong options are refused immediately, and nothing is left behind', async () => {
  const graph = await small();
  await withoutLeaks(async () => {
    const options = {inputs: ['flat'], outputs: ['dens', 'y', 'y'], inputShapes: {x: [6, 6, 2], flat: [-1]}};
    const error = await fromGraphModel(graph, options).catch((thrown: unknown) => thrown as Error);
    expect(error).toBeInstanceOf(LoRAError);
    expect((error as Error).message.split('\n')).toEqual([
      expect.stringContaining('no node "dens"'),
      'outputs names "y" twice.',
      'inputShapes names "x", which is not among the inputs: flat.',
      'The shape of "flat" must be a list of sizes without the batch axis, such as [224, 224, 3].',
    ]);
  });
  await expect(fromGraphModel(graph, {input: ['x']} as object)).rejects.toThrow(/input/);
  await expect(fromGraphModel({} as tf.GraphModel)).rejects.toThrow(/must be a tf.GraphModel/);
  await expect(fromGraphModel(graph, {outputs: ['k']})).rejects.toThrow(/depends on no input/);
});

test('an input whose shape the graph does not know has to be given one', async () => {
  const graph = await graphOf([{name: 'x', op: 'Placeholder', attr: {}}, node('y', 'Tanh', ['x'])]);
  await expect(fromGraphModel(graph)).rejects.toThrow(/The shape of input "x" is not known/);
  const model = await fromGraphModel(graph, {inputShapes: {x: [5]}});
  expect(model.inputs[0]!.shape[1]).toBe(5);
});

test('a graph that computes some sizes alone says which inputs to name a size of', async () => {
  const nodes = [input('x', [-1, -1, 4]), node('r', 'Reshape', ['x', 'fives']), node('y', 'MatMul', ['r', 'kernel'])];
  const graph = await graphOf(nodes, {fives: tf.tensor1d([-1, 20], 'int32'), kernel: random([20, 2], 1)});
  await expect(fromGraphModel(graph)).rejects.toThrow(
    /tried with 64 and 96, .* Pass the sizes that you use: \{inputShapes: \{'x': \[…, 4\]\}\}/,
  );
  const model = await fromGraphModel(graph, {inputShapes: {x: [5, 4]}});
  expect(model.outputs[0]!.shape).toEqual([null, 2]);
});

test('a graph that was disposed is refused', async () => {
  const graph = await small();
  graph.dispose();
  await expect(fromGraphModel(graph)).rejects.toThrow(/was disposed/);
});

test('applyLoRA on a graph says the way out', async () => {
  const graph = await small();
  expect(() => applyLoRA(graph as unknown as tf.LayersModel)).toThrow(/fromGraphModel.*tfjs-lora\/graph/s);
});

test('integers pass between ops without being rounded', async () => {
  const graph = await graphOf(
    [
      input('x', [-1, 2], 'DT_INT32'),
      node('big', 'AddV2', ['x', 'much']),
      node('less', 'Sub', ['big', 'much']),
      node('y', 'Cast', ['less'], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
    ],
    {much: tf.scalar(2 ** 24 + 1, 'int32')},
  );
  const model = await fromGraphModel(graph);
  expect(numbers(model.predict(tf.tensor2d([[1, 2]], [1, 2], 'int32')) as tf.Tensor)).toEqual([1, 2]);
});

test('what the public members of a GraphModel give is what is relied on', async () => {
  const graph = await small();
  expect(graph.inputNodes).toEqual(['x']);
  expect(graph.outputNodes).toEqual(['y']);
  expect(Object.keys(graph.weights).sort()).toEqual(['b', 'factor', 'k', 'shape', 'w']);
  expect(graph.weights.k![0]!.shape).toEqual([3, 3, 2, 4]);
});

describe('a graph of the official converter', () => {
  const images = () => tf.randomUniform([2, 16, 16, 3], 0, 1, 'float32', 3);
  test.each([
    ['uNet', images],
    ['hardSwish', images],
    ['swish', images],
    ['denseNet', () => tf.randomUniform([2, 12, 12, 3], 0, 1, 'float32', 3)],
    [
      'transformer',
      () =>
        tf.tensor2d(
          [
            [1, 2, 3, 4, 5, 6],
            [0, 9, 19, 3, 3, 1],
          ],
          [2, 6],
          'int32',
        ),
    ],
    ['lstm', () => random([2, 5, 4], 3)],
    ['gru', () => random([2, 5, 4], 3)],
  ])('%s computes on wasm what it computes on cpu, and trains there', async (name, make) => {
    const graph = await converted(name);
    const given = make();
    // Not all of them run on wasm by themselves.
    await useBackend('cpu');
    const expected = numbers(outputsOf(graph, {[graph.inputNodes[0]!]: given})[0]!);
    await useBackend('wasm');
    const base = await fromGraphModel(graph);
    const largest = Math.max(...expected.map(Math.abs));
    expect(numbers(base.predict(given) as tf.Tensor)).toBeAllClose(expected, {atol: 2e-5 * largest});
    const model = applyLoRA(base, {rank: 1, seed: 1});
    stirFactors(model);
    model.compile({optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError'});
    const target = tf.zerosLike(base.predict(given) as tf.Tensor);
    const losses = [await model.trainOnBatch(given, target), await model.trainOnBatch(given, target)] as number[];
    expect(losses[1]).toBeLessThan(losses[0]!);
  });

  test.each([
    ['rolledLSTM', 'lstm', 3],
    ['rolledGRU', 'gru', 3],
    ['rolledCells', 'cells', 5],
  ])('%s is unrolled, trains and becomes a graph without loops', async (name, unrolled, kernels) => {
    const steps = name === 'rolledCells' ? 3 : 5;
    const given = random([2, steps, 4], 3);
    // The same model, as Keras unrolls it.
    const expected = (graph: tf.GraphModel) => numbers(outputsOf(graph, {[graph.inputNodes[0]!]: given})[0]!);
    const graph = await converted(name);
    const base = await fromGraphModel(graph);
    expect(base.inputs[0]!.shape).toEqual([null, steps, 4]);
    expect(numbers(base.predict(given) as tf.Tensor)).toBeAllClose(expected(await converted(unrolled)));
    const model = applyLoRA(base, {rank: 1, seed: 1});
    // A product has one kernel for all steps.
    expect(summarizeLoRA(model).layers).toHaveLength(kernels);
    stirFactors(model);
    model.compile({optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError'});
    const target = tf.zerosLike(base.predict(given) as tf.Tensor);
    const losses = [await model.trainOnBatch(given, target), await model.trainOnBatch(given, target)] as number[];
    expect(losses[1]).toBeLessThan(losses[0]!);
    const trained = numbers(model.predict(given) as tf.Tensor);
    expect(expected(await toGraphModel(model, graph))).toBeAllClose(trained);
  });

  test('a loop of very many rounds is refused by name, with nothing left behind', async () => {
    const graph = await converted('rolledGRU');
    for (const [name, tensors] of Object.entries(graph.weights)) {
      if (/(?:Max|Less\/y)$/.test(name)) {
        tensors[0] = tf.scalar(1000, 'int32');
      }
    }
    await withoutLeaks(async () => {
      const error = await fromGraphModel(graph).catch((thrown: unknown) => thrown as Error);
      expect((error as Error).message).toMatch(/decides at run time what is computed/);
      expect((error as Error).message).toMatch(/fromGraphModel\(graph, \{/);
    });
  });

  test('its projections of attention are layers that can be adapted', async () => {
    const base = await fromGraphModel(await converted('transformer'));
    const {layers} = summarizeLoRA(applyLoRA(base, {rank: 2, seed: 1}));
    expect(layers.filter(({path}) => path.includes('multi_head_attention'))).toHaveLength(4);
  });
});

test('an op that a graph does not know is refused by name', async () => {
  const graph = await graphOf([input('x', [-1, 2]), node('y', 'Frobnicate', ['x'])]);
  await expect(fromGraphModel(graph)).rejects.toThrow(/Frobnicate "y": The node cannot be computed here/);
});

test('a GraphOp in a model says which node it is', async () => {
  const model = await fromGraphModel(await small());
  expect((model.getLayer('half') as GraphOp).fragment.node.op).toBe('Mul');
});

describe('a graph of numbers that are no floats', () => {
  /** Classes of rows, and the rows where a test holds. */
  function decisions(): Promise<tf.GraphModel> {
    return graphOf(
      [
        input('x', [-1, 3]),
        node('logits', 'MatMul', ['x', 'w']),
        node('class', 'ArgMax', ['logits', 'axis'], {T: {type: 'DT_FLOAT'}, output_type: {type: 'DT_INT32'}}),
        node('isHigh', 'Greater', ['logits', 'zero'], {T: {type: 'DT_FLOAT'}}),
        node('chosen', 'SelectV2', ['isHigh', 'logits', 'x'], {T: {type: 'DT_FLOAT'}}),
      ],
      {
        w: tf.tensor2d([
          [1, 0, -1],
          [0, 1, 0],
          [2, 0, 1],
        ]),
        axis: tf.scalar(1, 'int32'),
        zero: tf.scalar(0),
      },
    );
  }
  const rows = () =>
    tf.tensor2d([
      [1, 2, 3],
      [-1, 5, 0],
    ]);

  test('that ends in an ArgMax predicts, and says where to end it to train', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const model = await fromGraphModel(await decisions(), {outputs: ['class']});
    expect(warn.mock.calls).toEqual([
      [
        'Output "class" gives int32, which has no gradient: the model can predict, but not train. To train, end ' +
          "before it: fromGraphModel(graph, {outputs: ['logits']}).",
      ],
    ]);
    warn.mockClear();
    // [1 + 6, 2, −1 + 3] and [−1, 5, 1].
    expect(numbers(model.predict(rows()) as tf.Tensor)).toEqual([0, 1]);
    const whole = await fromGraphModel(await decisions(), {outputs: ['logits']});
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    const adapted = applyLoRA(whole, {rank: 1});
    adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const {history} = await adapted.fit(rows(), rows(), {epochs: 2, verbose: 0});
    expect(history.loss![1]).toBeLessThan(history.loss![0] as number);
  });

  test('can be cut at a test, whose values are given as they are', async () => {
    const model = await fromGraphModel(await decisions(), {
      inputs: ['x', 'logits', 'isHigh'],
      inputShapes: {logits: [3], isHigh: [3]},
      outputs: ['chosen'],
    });
    expect(model.inputs.map(({dtype}) => dtype)).toEqual(['float32', 'float32', 'bool']);
    const isHigh = tf.tensor2d([1, 0, 0, 0, 1, 1], [2, 3], 'bool');
    const chosen = model.predict([rows(), tf.neg(rows()), isHigh]) as tf.Tensor;
    expect(numbers(chosen)).toEqual([-1, 2, 3, -1, -5, 0]);
  });
});
