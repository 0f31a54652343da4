import * as tf from '@tensorflow/tfjs';
import {applyLoRA, mergeLoRA} from '../../../../src/index';
import type {GraphNode} from '../../../../src/extensions/graph/graphDef';
import {fromGraphModel, toGraphModel} from '../../../../src/graph';
import {disposeModel} from '../../../../src/core/rewire/dispose';
import {numbers, random, useBackend} from '../../../helpers';
import {factorsOf, stirFactors} from '../../../models';
import {convolution, graphOf, input, integers, node, outputsOf, text, texts} from '../graphs';

/** A graph whose input is `x` and whose output is `y`. */
interface Row {
  x: () => tf.Tensor;
  nodes: GraphNode[];
  constants?: () => Record<string, tf.Tensor>;
  /** Whether the stock layer has no gradient, which an adapted model has. */
  onlyAdapted?: boolean;
}

const images = () => random([2, 4, 5, 3], 1);
const vectors = () => random([3, 5], 1);
const imageNode = input('x', [-1, 4, 5, 3]);
const vectorNode = input('x', [-1, 5]);

/** Biases with which a channel of relu6 lies below, between and above its bounds, and far from both. */
const bounds = (channels: number) => tf.tensor1d(Array.from({length: channels}, (_, i) => [-4, 3, 10][i % 3]!));
const small = () => random([2, 4, 5, 3], 1, 0.2);

function convolved(op: string, attr: Parameters<typeof convolution>[0], kernel: [number, number, number, number]): Row {
  const nodes = [imageNode, node('z', op, ['x', 'k'], convolution(attr)), node('y', 'Tanh', ['z'])];
  return {x: images, nodes, constants: () => ({k: random(kernel, 2, 0.4)})};
}

function fused(op: string, ops: string[], kernel: [number, number, number, number], attr = {}): Row {
  const attributes = {...convolution(), fused_ops: texts(...ops), num_args: {i: '1'}, ...attr};
  const channels = op === '_FusedConv2D' ? kernel[3] : kernel[2] * kernel[3];
  return {
    x: small,
    nodes: [imageNode, node('y', op, ['x', 'k', 'b'], attributes)],
    constants: () => ({k: random(kernel, 2, 0.3), b: bounds(channels)}),
  };
}

function elementwise(op: string, attr = {}): Row {
  // No number lies near a corner.
  return {
    x: () => tf.tensor2d([-3, -0.7, 0.4, 2, 7, 5, 1.3, -1.6, 0.9, 3.3], [2, 5]),
    nodes: [vectorNode, node('y', op, ['x'], attr)],
  };
}

function merged(op: string): Row {
  return {x: vectors, nodes: [vectorNode, node('a', 'Sigmoid', ['x']), node('y', op, ['x', 'a'])]};
}

function pooled(op: string): Row {
  const attr = {ksize: integers(1, 2, 3, 1), strides: integers(1, 2, 1, 1), padding: text('SAME')};
  // Far enough from each other that none overtakes another.
  const x = () => tf.reshape(tf.linspace(0, 11.9, 120), [2, 4, 5, 3]);
  return {x, nodes: [imageNode, node('y', op, ['x'], attr)]};
}

const ints = (...values: number[]) => tf.tensor1d(values, 'int32');

const ROWS: Record<string, Row> = {
  Conv2D: convolved('Conv2D', {strides: [2, 1]}, [2, 3, 3, 4]),
  'Conv2D, dilated': {...convolved('Conv2D', {dilations: [2, 2], padding: 'VALID'}, [2, 2, 3, 4]), onlyAdapted: true},
  'Conv2D with explicit padding': convolved('Conv2D', {padding: 'EXPLICIT', pads: [1, 0, 2, 1]}, [3, 3, 3, 2]),
  'Conv2D of single pixels': convolved('Conv2D', {}, [1, 1, 3, 4]),
  _FusedConv2D: fused('_FusedConv2D', ['BiasAdd', 'Relu6'], [3, 3, 3, 4]),
  '_FusedConv2D with Relu': fused('_FusedConv2D', ['BiasAdd', 'Relu'], [3, 3, 3, 4]),
  '_FusedConv2D with LeakyRelu': fused('_FusedConv2D', ['BiasAdd', 'LeakyRelu'], [1, 1, 3, 4], {
    leakyrelu_alpha: {f: 0.3},
  }),
  DepthwiseConv2dNative: convolved('DepthwiseConv2dNative', {strides: [2, 2]}, [3, 3, 3, 1]),
  'DepthwiseConv2dNative with two filters a channel': convolved('DepthwiseConv2dNative', {}, [2, 3, 3, 2]),
  'DepthwiseConv2dNative, dilated': convolved('DepthwiseConv2dNative', {dilations: [2, 2]}, [2, 2, 3, 1]),
  FusedDepthwiseConv2dNative: fused('FusedDepthwiseConv2dNative', ['BiasAdd', 'Relu6'], [3, 3, 3, 1]),
  'FusedDepthwiseConv2dNative with strides': fused(
    'FusedDepthwiseConv2dNative',
    ['BiasAdd'],
    [3, 3, 3, 1],
    convolution({strides: [2, 2]}),
  ),
  Conv2DBackpropInput: {
    x: () => random([1, 3, 3, 3], 1),
    nodes: [
      input('x', [1, 3, 3, 3]),
      node('y', 'Conv2DBackpropInput', ['size', 'k', 'x'], convolution({padding: 'SAME', strides: [2, 2]})),
    ],
    constants: () => ({k: random([3, 3, 4, 3], 2), size: ints(1, 6, 6, 4)}),
  },
  MatMul: {
    x: vectors,
    nodes: [vectorNode, node('z', 'MatMul', ['x', 'k'], {transpose_b: {b: true}}), node('y', 'Sigmoid', ['z'])],
    constants: () => ({k: random([4, 5], 2)}),
  },
  _FusedMatMul: {
    x: vectors,
    nodes: [
      vectorNode,
      node('y', '_FusedMatMul', ['x', 'k', 'b'], {fused_ops: texts('BiasAdd', 'Elu'), num_args: {i: '1'}}),
    ],
    constants: () => ({k: random([5, 4], 2), b: random([4], 3)}),
  },
  BatchMatMulV2: {
    x: () => random([2, 3, 4], 1),
    nodes: [input('x', [-1, 3, 4]), node('y', 'BatchMatMulV2', ['x', 'k'])],
    constants: () => ({k: random([4, 5], 2)}),
  },
  Einsum: {
    x: () => random([2, 3, 4], 1),
    nodes: [input('x', [-1, 3, 4]), node('y', 'Einsum', ['x', 'k'], {equation: text('abc,cde->abde'), N: {i: '2'}})],
    constants: () => ({k: random([4, 2, 3], 2)}),
  },
  FusedBatchNormV3: {
    x: images,
    nodes: [imageNode, node('y', 'FusedBatchNormV3', ['x', 'g', 'b', 'm', 'v'], {epsilon: {f: 0.01}})],
    constants: () => ({
      g: random([3], 2),
      b: random([3], 3),
      m: random([3], 4),
      v: tf.tensor1d([0.5, 1, 2]),
    }),
  },
  ...Object.fromEntries(
    ['Relu', 'Relu6', 'Elu', 'Selu', 'Sigmoid', 'Tanh', 'Softplus', 'Softmax'].map(op => [op, elementwise(op)]),
  ),
  LeakyRelu: elementwise('LeakyRelu', {alpha: {f: 0.3}}),
  Prelu: {
    x: elementwise('Prelu').x,
    nodes: [vectorNode, node('y', 'Prelu', ['x', 'a'])],
    constants: () => ({a: random([5], 2)}),
  },
  MaxPool: pooled('MaxPool'),
  AvgPool: pooled('AvgPool'),
  ...Object.fromEntries(['Add', 'AddV2', 'Mul', 'Maximum', 'Minimum'].map(op => [op, merged(op)])),
  AddN: {
    x: vectors,
    nodes: [
      vectorNode,
      node('a', 'Sigmoid', ['x']),
      node('b', 'Tanh', ['x']),
      node('y', 'AddN', ['x', 'a', 'b'], {N: {i: '3'}}),
    ],
  },
  Mean: {
    x: images,
    nodes: [imageNode, node('y', 'Mean', ['x', 'axes'])],
    constants: () => ({axes: ints(1, 2)}),
  },
  Pad: {
    x: images,
    nodes: [imageNode, node('z', 'Pad', ['x', 'pads']), node('y', 'Sigmoid', ['z'])],
    constants: () => ({pads: tf.tensor2d([0, 0, 1, 2, 3, 0, 0, 0], [4, 2], 'int32')}),
  },
  ConcatV2: {
    x: images,
    nodes: [imageNode, node('a', 'Sigmoid', ['x']), node('y', 'ConcatV2', ['x', 'a', 'axis'], {N: {i: '2'}})],
    constants: () => ({axis: tf.scalar(3, 'int32')}),
  },
  Reshape: {
    x: images,
    nodes: [imageNode, node('y', 'Reshape', ['x', 'shape'])],
    constants: () => ({shape: ints(-1, 60)}),
  },
  Squeeze: {
    x: () => random([2, 1, 4], 1),
    nodes: [input('x', [-1, 1, 4]), node('y', 'Squeeze', ['x'], {squeeze_dims: integers(1)})],
  },
  ExpandDims: {
    x: vectors,
    nodes: [vectorNode, node('y', 'ExpandDims', ['x', 'axis'])],
    constants: () => ({axis: tf.scalar(1, 'int32')}),
  },
  Transpose: {
    x: images,
    nodes: [imageNode, node('y', 'Transpose', ['x', 'order'])],
    constants: () => ({order: ints(0, 3, 1, 2)}),
  },
  GatherV2: {
    x: () => tf.tensor2d([1, 4, 0, 3, 3, 1], [2, 3], 'int32'),
    nodes: [input('x', [-1, 3], 'DT_INT32'), node('y', 'GatherV2', ['k', 'x', 'axis'])],
    constants: () => ({k: random([5, 4], 2), axis: tf.scalar(0, 'int32')}),
  },
  ...Object.fromEntries(
    ['ResizeBilinear', 'ResizeNearestNeighbor'].map(op => [
      op,
      {
        x: images,
        nodes: [imageNode, node('y', op, ['x', 'size'])],
        constants: () => ({size: ints(8, 10)}),
      },
    ]),
  ),
};

function weighted(y: tf.Tensor): tf.Scalar {
  return tf.sum(tf.mul(y, random(y.shape as [number, number], 77)));
}

const STEP = 2 ** -6;

/** The gradient of a function of numbers by central differences. */
async function byDifferences(f: (values: number[]) => number | Promise<number>, values: number[]): Promise<number[]> {
  const gradient: number[] = [];
  for (const i of values.keys()) {
    const at = (step: number) => f(values.map((value, j) => (i === j ? value + step : value)));
    gradient.push(((await at(STEP)) - (await at(-STEP))) / (2 * STEP));
  }
  return gradient;
}

/** What a graph gives for an input, weighted and added up. On cpu, which runs all of them by itself. */
function outcomeOf(graph: tf.GraphModel, x: tf.Tensor): number {
  return tf.tidy(() => weighted(outputsOf(graph, {x})[0]!).dataSync()[0]!);
}

const TOLERANCE = {atol: 2e-3, rtol: 2e-3};

describe('the gradients of a graph are those of its differences:', () => {
  test.each(Object.keys(ROWS))('%s', async name => {
    const {x: make, nodes, constants = () => ({}), onlyAdapted = false} = ROWS[name]!;
    await useBackend('cpu');
    const x = make();
    const graph = await graphOf(nodes, constants());
    const base = await fromGraphModel(graph);
    expect(base.layers.map(layer => layer.getClassName())).not.toContain('tfjs-lora/graph>GraphOp');

    const kernels = base.layers.filter(layer =>
      layer.weights.some(({originalName}) => /kernel|embeddings/.test(originalName)),
    );
    const targets = kernels.map(layer => layer.name);
    const adapted = targets.length > 0 ? applyLoRA(base, {rank: 1, seed: 1, targets}) : undefined;

    if (x.dtype === 'float32') {
      const expected = await byDifferences(values => outcomeOf(graph, tf.tensor(values, x.shape)), numbers(x));
      await useBackend('wasm');
      for (const model of [...(onlyAdapted ? [] : [base]), ...(adapted ? [adapted] : [])]) {
        const gradient = tf.grad(z => weighted(model.apply(z) as tf.Tensor))(x);
        expect(numbers(gradient)).toBeAllClose(expected, TOLERANCE);
      }
    }

    if (adapted !== undefined) {
      stirFactors(adapted);
      await useBackend('cpu');
      for (const factor of factorsOf(adapted)) {
        const original = numbers(factor.read());
        const expected = await byDifferences(async values => {
          factor.write(tf.tensor(values, factor.shape as number[]));
          const merged = mergeLoRA(adapted);
          const written = await toGraphModel(merged, graph);
          const outcome = outcomeOf(written, x);
          written.dispose();
          disposeModel(merged);
          return outcome;
        }, original);
        factor.write(tf.tensor(original, factor.shape as number[]));
        await useBackend('wasm');
        const {grads} = tf.variableGrads(() => weighted(adapted.apply(x) as tf.Tensor));
        const [gradient] = Object.entries(grads).filter(([variable]) => variable.startsWith(factor.originalName));
        expect(numbers(gradient![1])).toBeAllClose(expected, TOLERANCE);
        await useBackend('cpu');
      }
    }
  });
});
