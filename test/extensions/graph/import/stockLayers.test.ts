import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {fromGraphModel} from '../../../../src/graph';
import type {GraphNode} from '../../../../src/extensions/graph/graphDef';
import {disposeModel} from '../../../../src/core/rewire/dispose';
import {numbers, random, useBackend} from '../../../helpers';
import {convolution, graphOf, input, integers, node, outputsOf, text, texts} from '../graphs';

/**
 * Expects that a graph with the input `x` computes the same as a model, and gives the classes of the model's layers.
 */
async function sameAsGraph(
  nodes: GraphNode[],
  constants: Record<string, tf.Tensor>,
  x: tf.Tensor,
  tolerance = 1e-6,
): Promise<string[]> {
  const graph = await graphOf(nodes, constants);
  const model = await fromGraphModel(graph);
  const expected = outputsOf(graph, {x});
  const actual = [model.predict(x)].flat();
  actual.forEach((y, i) => {
    expect(y.shape).toEqual(expected[i]!.shape);
    expect(numbers(y)).toBeAllClose(numbers(expected[i]!), {atol: tolerance, rtol: tolerance});
  });
  const classes = model.layers.slice(1).map(layer => layer.getClassName().replace(/^tfjs-lora.*>/, ''));
  graph.dispose();
  disposeModel(model);
  tf.dispose([x, expected, actual]);
  return classes;
}

const images = (n = 2, c = 3) => random([n, 6, 7, c], 1);

describe('a node becomes a layer', () => {
  test.each([
    ['SAME', [1, 1], [1, 1]],
    ['VALID', [2, 1], [1, 1]],
    ['VALID', [1, 1], [2, 2]],
    ['EXPLICIT', [1, 2], [1, 1]],
  ] as const)('a convolution with %s padding, strides %j, dilations %j', async (padding, strides, dilations) => {
    const attributes = convolution({
      padding,
      strides: [...strides],
      dilations: [...dilations],
      ...(padding === 'EXPLICIT' && {pads: [1, 2, 0, 1]}),
    });
    const nodes = [input('x', [-1, 6, 7, 3]), node('y', 'Conv2D', ['x', 'k'], attributes)];
    const classes = await sameAsGraph(nodes, {k: random([2, 3, 3, 4], 2)}, images());
    expect(classes).toEqual(padding === 'EXPLICIT' ? ['ZeroPadding2D', 'Conv2D'] : ['Conv2D']);
  });

  test('a convolution, its bias and its activation become one layer', async () => {
    const nodes = [
      input('x', [-1, 6, 7, 3]),
      node('conv', 'Conv2D', ['x', 'k'], convolution()),
      node('biased', 'BiasAdd', ['conv', 'b']),
      node('y', 'Relu', ['biased']),
    ];
    expect(await sameAsGraph(nodes, {k: random([2, 3, 3, 4], 2), b: random([4], 3)}, images())).toEqual(['Conv2D']);
  });

  test('a bias that a second node uses stays apart', async () => {
    const nodes = [
      input('x', [-1, 6, 7, 3]),
      node('conv', 'Conv2D', ['x', 'k'], convolution()),
      node('biased', 'AddV2', ['conv', 'b']),
      node('y', 'Mul', ['biased', 'conv']),
    ];
    const classes = await sameAsGraph(nodes, {k: random([2, 3, 3, 4], 2), b: random([4], 3)}, images());
    expect(classes).toEqual(['Conv2D', 'GraphOp', 'Multiply']);
  });

  test.each(['Relu', 'Relu6', 'Elu', 'Sigmoid', 'LeakyRelu', 'Prelu'])('a convolution fused with %s', async op => {
    const prelu = op === 'Prelu';
    const nodes = [
      input('x', [-1, 6, 7, 3]),
      node('y', '_FusedConv2D', ['x', 'k', 'b', ...(prelu ? ['a'] : [])], {
        ...convolution(),
        fused_ops: texts('BiasAdd', op),
        num_args: {i: prelu ? '2' : '1'},
      }),
    ];
    const constants = {k: random([2, 3, 3, 4], 2), b: random([4], 3), ...(prelu && {a: random([1, 1, 4], 4)})};
    const [first] = await sameAsGraph(nodes, constants, images());
    expect(first).toBe(op === 'Relu6' ? 'FusedConv2D' : 'Conv2D');
  });

  test('a depthwise convolution, in steps as the graph has them, or fused as it has them', async () => {
    const constants = () => ({k: random([3, 3, 3, 2], 2), b: random([6], 3)});
    const steps = [
      input('x', [-1, 6, 7, 3]),
      node('conv', 'DepthwiseConv2dNative', ['x', 'k'], convolution({strides: [2, 2]})),
      node('biased', 'BiasAdd', ['conv', 'b']),
      node('y', 'Relu6', ['biased']),
    ];
    expect(await sameAsGraph(steps, constants(), images())).toEqual(['DepthwiseConv2D']);
    const fused = [
      input('x', [-1, 6, 7, 3]),
      node('y', 'FusedDepthwiseConv2dNative', ['x', 'k', 'b'], {
        ...convolution({dilations: [2, 2], padding: 'VALID'}),
        fused_ops: texts('BiasAdd', 'Relu6'),
        num_args: {i: '1'},
      }),
    ];
    expect(await sameAsGraph(fused, constants(), images())).toEqual(['FusedDepthwiseConv2D']);
  });

  test.each(['SAME', 'VALID'] as const)('a transposed convolution with %s padding', async padding => {
    const [height, width] = padding === 'SAME' ? [12, 14] : [13, 15];
    const nodes = [
      input('x', [1, 6, 7, 3]),
      node('y', 'Conv2DBackpropInput', ['size', 'k', 'x'], convolution({padding, strides: [2, 2]})),
    ];
    const constants = {k: random([3, 3, 4, 3], 2), size: tf.tensor1d([1, height, width, 4], 'int32')};
    expect(await sameAsGraph(nodes, constants, images(1))).toEqual(['Conv2DTranspose']);
  });

  test.each([false, true])('a product with a constant matrix, transposed: %s', async transposed => {
    const nodes = [
      input('x', [-1, 5]),
      node('product', 'MatMul', ['x', 'k'], {transpose_b: {b: transposed}}),
      node('y', 'Tanh', ['product']),
    ];
    const k = random(transposed ? [4, 5] : [5, 4], 2);
    expect(await sameAsGraph(nodes, {k}, random([3, 5], 1))).toEqual(['Dense']);
  });

  test('a fused product', async () => {
    const nodes = [
      input('x', [-1, 5]),
      node('y', '_FusedMatMul', ['x', 'k', 'b'], {fused_ops: texts('BiasAdd', 'Elu'), num_args: {i: '1'}}),
    ];
    expect(await sameAsGraph(nodes, {k: random([5, 4], 2), b: random([4], 3)}, random([3, 5], 1))).toEqual(['Dense']);
  });

  test.each([
    ['abc,cd->abd', [4, 6], ['Dense']],
    ['abc,cde->abde', [4, 2, 3], ['Dense', 'Reshape']],
  ])('a projection %s', async (equation, shape, classes) => {
    const nodes = [input('x', [-1, 3, 4]), node('y', 'Einsum', ['x', 'k'], {equation: text(equation), N: {i: '2'}})];
    expect(await sameAsGraph(nodes, {k: random(shape as [number, number], 2)}, random([2, 3, 4], 1))).toEqual(classes);
  });

  test('a projection that sums over two axes', async () => {
    const nodes = [
      input('x', [-1, 3, 2, 4]),
      node('y', 'Einsum', ['x', 'k'], {equation: text('abcd,cde->abe'), N: {i: '2'}}),
    ];
    expect(await sameAsGraph(nodes, {k: random([2, 4, 5], 2)}, random([2, 3, 2, 4], 1))).toEqual(['Reshape', 'Dense']);
  });

  test('a normalization', async () => {
    const nodes = [
      input('x', [-1, 6, 7, 3]),
      node('y', 'FusedBatchNormV3', ['x', 'g', 'b', 'm', 'v'], {epsilon: {f: 0.01}, is_training: {b: false}}),
    ];
    const constants = {
      g: random([3], 2),
      b: random([3], 3),
      m: random([3], 4),
      v: tf.randomUniform([3], 0.5, 2, 'float32', 5),
    };
    expect(await sameAsGraph(nodes, constants, images())).toEqual(['BatchNormalization']);
  });

  test.each(['Relu', 'Relu6', 'Elu', 'Selu', 'Sigmoid', 'Tanh', 'Softplus', 'Softmax'])('%s', async op => {
    expect(await sameAsGraph([input('x', [-1, 5]), node('y', op, ['x'])], {}, random([3, 5], 1))).toEqual([
      'Activation',
    ]);
  });

  test.each(['MaxPool', 'AvgPool'])('%s', async op => {
    const attributes = {ksize: integers(1, 2, 3, 1), strides: integers(1, 2, 1, 1), padding: text('SAME')};
    const [name] = await sameAsGraph([input('x', [-1, 6, 7, 3]), node('y', op, ['x'], attributes)], {}, images());
    expect(name).toBe(op === 'MaxPool' ? 'MaxPooling2D' : 'AveragePooling2D');
  });

  test.each([false, true])('the mean of an image, keeping its axes: %s', async keep => {
    const nodes = [input('x', [-1, 6, 7, 3]), node('y', 'Mean', ['x', 'axes'], {keep_dims: {b: keep}})];
    const classes = await sameAsGraph(nodes, {axes: tf.tensor1d([1, 2], 'int32')}, images());
    expect(classes).toEqual(['GlobalAveragePooling2D', ...(keep ? ['Reshape'] : [])]);
  });

  test.each(['Add', 'AddV2', 'Mul', 'Maximum', 'Minimum'])('%s of two tensors of one shape', async op => {
    const nodes = [input('x', [-1, 5]), node('a', 'Tanh', ['x']), node('y', op, ['x', 'a'])];
    const classes = await sameAsGraph(nodes, {}, random([3, 5], 1));
    expect(classes).not.toContain('GraphOp');
  });

  test('a sum of a tensor with itself', async () => {
    const nodes = [input('x', [-1, 5]), node('y', 'AddV2', ['x', 'x'])];
    expect(await sameAsGraph(nodes, {}, random([3, 5], 1))).toEqual(['GraphOp']);
  });

  test('pads, with zeros and with others', async () => {
    const pads = () => tf.tensor2d([0, 0, 1, 2, 3, 0, 0, 0], [4, 2], 'int32');
    const zeros = [input('x', [-1, 6, 7, 3]), node('y', 'Pad', ['x', 'pads'])];
    expect(await sameAsGraph(zeros, {pads: pads()}, images())).toEqual(['ZeroPadding2D']);
    const others = [
      input('x', [-1, 6, 7, 3]),
      node('padded', 'PadV2', ['x', 'pads', 'value']),
      node('y', 'Exp', ['padded']),
    ];
    const constants = {pads: pads(), value: tf.scalar(-Infinity)};
    // What JSON cannot hold is a weight.
    expect(await sameAsGraph(others, constants, images())).toEqual(['GraphOp', 'GraphOp']);
  });

  test('rows of a table', async () => {
    const nodes = [input('x', [-1, 3], 'DT_INT32'), node('y', 'GatherV2', ['table', 'x', 'axis'])];
    const constants = {table: random([9, 4], 2), axis: tf.scalar(0, 'int32')};
    const x = tf.tensor2d([[1, 8, 0], [3, 3, 5]], [2, 3], 'int32'); // prettier-ignore
    expect(await sameAsGraph(nodes, constants, x)).toEqual(['Embedding']);
  });

  test.each(['ResizeBilinear', 'ResizeNearestNeighbor'])('%s to twice the size', async op => {
    const nodes = [input('x', [-1, 6, 7, 3]), node('y', op, ['x', 'size'])];
    expect(await sameAsGraph(nodes, {size: tf.tensor1d([12, 14], 'int32')}, images())).toEqual(['UpSampling2D']);
  });

  test('a transposition that leaves the batch alone', async () => {
    const nodes = [input('x', [-1, 6, 7, 3]), node('y', 'Transpose', ['x', 'order'])];
    expect(await sameAsGraph(nodes, {order: tf.tensor1d([0, 3, 1, 2], 'int32')}, images())).toEqual(['Permute']);
  });

  test('a Reshape whose shape is computed from that of the input', async () => {
    const nodes = [
      input('x', [-1, 6, 7, 3]),
      node('shape', 'Shape', ['x']),
      node('batch', 'StridedSlice', ['shape', 'zero', 'one', 'one'], {shrink_axis_mask: {i: '1'}}),
      node('target', 'Pack', ['batch', 'rest'], {N: {i: '2'}, axis: {i: '0'}}),
      node('y', 'Reshape', ['x', 'target']),
    ];
    const constants = {
      zero: tf.tensor1d([0], 'int32'),
      one: tf.tensor1d([1], 'int32'),
      rest: tf.scalar(126, 'int32'),
    };
    expect(await sameAsGraph(nodes, constants, images())).toEqual(['Reshape']);
  });

  test('two products with one matrix share a layer', async () => {
    const nodes = [
      input('x', [-1, 4]),
      node('a', 'MatMul', ['x', 'k']),
      node('t', 'Tanh', ['a']),
      node('b', 'MatMul', ['t', 'k']),
      node('y', 'Tanh', ['b']),
    ];
    const classes = await sameAsGraph(nodes, {k: random([4, 4], 2)}, random([2, 4], 1));
    expect(classes).toEqual(['Dense']);
  });
});

const pair = (min: number, max: number) => fc.tuple(fc.integer({min, max}), fc.integer({min, max}));

test('convolutions of all geometries compute what the graph computes', async () => {
  const cases = fc.record({
    kernel: pair(1, 3),
    strides: pair(1, 3),
    dilations: pair(1, 2),
    padding: fc.constantFrom('SAME', 'VALID', 'EXPLICIT'),
    pads: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
    depthwise: fc.boolean(),
    activation: fc.constantFrom('Relu', 'Relu6', 'Sigmoid', undefined),
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({kernel, strides, dilations, padding, pads, depthwise, activation}) => {
      // tfjs refuses both at once.
      const rates: [number, number] = strides.some(stride => stride > 1) ? [1, 1] : dilations;
      const attributes = convolution({strides, dilations: rates, padding, ...(padding === 'EXPLICIT' && {pads})});
      const nodes = [
        input('x', [-1, 6, 7, 3]),
        node(activation ? 'conv' : 'y', depthwise ? 'DepthwiseConv2dNative' : 'Conv2D', ['x', 'k'], attributes),
        ...(activation ? [node('y', activation, ['conv'])] : []),
      ];
      const classes = await sameAsGraph(nodes, {k: random([...kernel, 3, 2], 2)}, images());
      expect(classes).not.toContain('GraphOp');
    }),
    {numRuns: 25},
  );
});

test('channels-first convolutions of all geometries compute what the graph computes', async () => {
  await useBackend('cpu'); // the graph runs channels first there alone
  const cases = fc.record({
    kernel: pair(1, 3),
    strides: pair(1, 2),
    dilations: pair(1, 2),
    padding: fc.constantFrom('SAME', 'VALID'),
    activation: fc.constantFrom('Relu', 'Relu6', 'Sigmoid', undefined),
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({kernel, strides, dilations, padding, activation}) => {
      const rates: [number, number] = strides.some(stride => stride > 1) ? [1, 1] : dilations;
      const attributes = convolution({strides, dilations: rates, padding, format: 'NCHW'});
      const nodes = [
        node(activation ? 'conv' : 'y', 'Conv2D', ['x', 'k'], attributes),
        ...(activation ? [node('y', activation, ['conv'])] : []),
      ];
      const constants = {k: random([...kernel, 3, 2], 2)};
      const x = random([2, 3, 6, 7], 1);
      const classes = await sameAsGraph([input('x', [-1, 3, 6, 7]), ...nodes], constants, x);
      const isPlain = [...strides, ...rates].every(step => step === 1);
      expect(classes[0]).toBe(isPlain ? 'Conv2D' : 'GraphOp');
    }),
    {numRuns: 25},
  );
});

test('a channels-first bias, which plain tfjs cannot add, goes to the channels', async () => {
  await useBackend('cpu'); // the graph runs channels first there alone
  const nodes = [
    input('x', [-1, 3, 6, 7]),
    node('conv', 'Conv2D', ['x', 'k'], convolution({format: 'NCHW'})),
    node('y', 'BiasAdd', ['conv', 'b'], {data_format: text('NCHW')}),
  ];
  const graph = await graphOf(nodes, {k: random([1, 1, 3, 2], 2), b: tf.tensor1d([10, 20])});
  const x = random([2, 3, 6, 7], 1);
  const [plain] = outputsOf(graph, {x}, ['conv']);
  const model = await fromGraphModel(graph);
  const expected = tf.add(plain!, tf.tensor4d([10, 20], [1, 2, 1, 1]));
  expect(numbers(model.predict(x) as tf.Tensor)).toBeAllClose(numbers(expected));
});
