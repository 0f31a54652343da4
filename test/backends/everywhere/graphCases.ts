import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from 'tfjs-lora';
import {fromGraphModel, toGraphModel} from 'tfjs-lora/graph';
import {registerGraphGradients} from '../../../src/extensions/graph/gradients/graphGradients';
import {random} from '../../helpers';
import {asOnCpu, type Case, difference, predicts, read} from './case';

/** What a graph has to do on every backend. */
export const graphCases: readonly Case[] = [
  {
    behaviour: 'an imported graph has the same outputs as on cpu',
    tolerance: 1e-4,
    halfTolerance: 3e-2,
    run: asOnCpu(
      async () => [await predicts(await fromGraphModel(await graph()), images())],
      async () => read([(await graph()).execute(images()) as tf.Tensor]),
    ),
  },
  {
    behaviour: 'fit of an imported graph has the same loss curve as on cpu',
    tolerance: 1e-3,
    halfTolerance: null,
    run: asOnCpu(async () => [await fit()]),
  },
  {
    behaviour: 'an imported graph has the same outputs after merging and writing back',
    tolerance: 1e-4,
    halfTolerance: 3e-2,
    run: async () => {
      const origin = await graph();
      const model = await trained(origin);
      const written = await toGraphModel(model, origin);
      const [values] = await read([written.execute(images()) as tf.Tensor]);
      return difference(values!, await predicts(model, images()));
    },
  },
  {
    behaviour: 'operations of a vector and a tensor of five axes give what they give on cpu',
    tolerance: 1e-4,
    halfTolerance: 3e-2,
    run: asOnCpu(() => read(ofVectors())),
  },
  {
    behaviour: 'the sum of ten tensors in a graph is whole',
    tolerance: 0,
    run: async () => {
      registerGraphGradients();
      const terms = tf.unstack(tf.reshape(tf.range(0, 20), [10, 2]));
      return difference((await read([tf.addN(terms)]))[0]!, [90, 100]);
    },
  },
  {
    behaviour: 'a slice with steps may drop an axis',
    tolerance: 0,
    run: async () => {
      registerGraphGradients();
      const x = tf.reshape(tf.range(0, 24), [2, 3, 4]);
      const slice = tf.stridedSlice(x, [1, 0, 0], [2, 3, 4], [1, 2, 1], 0, 0, 0, 0, 1); // x[1, ::2]
      return difference((await read([slice]))[0]!, [12, 13, 14, 15, 20, 21, 22, 23]);
    },
  },
  {
    behaviour: 'floats in a graph are divided before the quotient is rounded down',
    tolerance: 0,
    run: async () => {
      registerGraphGradients();
      const dividends = tf.tensor1d([5.5, -5.5, 7, 6, -6, 0.75, 49, 1]);
      const divisors = tf.tensor1d([2, 2, 3.5, 3, 4, 0.5, -7, 0.75]);
      const quotients = [2, -3, 2, 2, -2, 1, -7, 1];
      return difference((await read([tf.floorDiv(dividends, divisors)]))[0]!, quotients);
    },
  },
  {
    behaviour: 'a Where in a graph gives the same as on cpu or is refused by name',
    tolerance: 0,
    run: async backend => {
      if (backend !== 'webgpu') {
        return difference(await predicts(await fromGraphModel(await whereGraph()), whereInput()), [1, 4, 5]);
      }
      const message = await fromGraphModel(await whereGraph()).then(
        String,
        (error: unknown) => (error as Error).message,
      );
      return message.includes('Where "places": The node must read a tensor synchronously') ? 0 : Infinity;
    },
  },
  {
    behaviour: 'cumulative sums and products of integers are those of integers',
    tolerance: 0,
    run: async () => {
      const x = tf.tensor3d([3, -1, 2, 4, 0, 7], [2, 3, 1], 'int32');
      const truths = tf.tensor1d([1, 0, 1, 1], 'bool');
      const sums = [tf.cumsum(x, 0), tf.cumsum(x, -2), tf.cumprod(x, 1), tf.cumsum(truths)];
      const expected = [
        [3, -1, 2, 7, -1, 9],
        [3, 2, 4, 4, 4, 11],
        [3, -3, -6, 4, 0, 0],
        [1, 1, 2, 3],
      ];
      const isWhole = sums.every(({dtype}) => dtype === 'int32');
      return isWhole ? difference((await read(sums)).flat(), expected.flat()) : Infinity;
    },
  },
];

/** What operations of two tensors give for a vector and a tensor of five axes, on either side. */
function ofVectors(): tf.Tensor[] {
  registerGraphGradients();
  return tf.tidy(() => {
    const [vector, tensor] = [random([2], 1), random([1, 2, 1, 3, 2], 2)];
    const numbers = [tf.add, tf.sub, tf.mul, tf.div, tf.maximum, tf.minimum, tf.squaredDifference, tf.atan2, tf.mod];
    const truths = [tf.greater, tf.greaterEqual, tf.less, tf.lessEqual, tf.equal, tf.notEqual];
    const both = (f: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor) => [f(vector, tensor), f(tensor, vector)];
    return [
      ...numbers.flatMap(both),
      ...both((a, b) => tf.floorDiv(tf.round(tf.mul(a, 10)), tf.add(tf.round(tf.abs(tf.mul(b, 10))), 1))),
      ...both((a, b) => tf.pow(tf.abs(a), b)),
      ...truths.flatMap(f => both((a, b) => f(a as never, b as never))),
      ...both((a, b) => tf.logicalAnd(tf.greater(a, 0), tf.greater(b, 0))),
      ...both((a, b) => tf.logicalOr(tf.greater(a, 0), tf.greater(b, 0))),
    ];
  });
}

const whereInput = () => tf.tensor2d([1, -1, -2, -3, 4, 5], [2, 3]);

/** The numbers above zero. */
function whereGraph(): Promise<tf.GraphModel> {
  const sizes = [-1, 3].map(size => ({size}));
  return load(
    [
      {name: 'x', op: 'Placeholder', attr: {dtype: {type: 'DT_FLOAT'}, shape: {shape: {dim: sizes}}}},
      {name: 'above', op: 'Greater', input: ['x', 'zero']},
      {name: 'places', op: 'Where', input: ['above']},
      {name: 'y', op: 'GatherNd', input: ['x', 'places']},
    ],
    {zero: tf.scalar(0)},
  );
}

const images = () => random([4, 8, 8, 3], 3);

const attributes = {
  strides: {list: {i: [1, 1, 1, 1]}},
  dilations: {list: {i: [1, 1, 1, 1]}},
  padding: {s: btoa('SAME')},
  data_format: {s: btoa('NHWC')},
};
const fused = (activation: string) => ({
  ...attributes,
  fused_ops: {list: {s: [btoa('BiasAdd'), btoa(activation)]}},
  num_args: {i: 1},
});

/** Fused convolutions, and ops that no layer computes: a slice with steps, a mirror, an attention by Einsum. */
function graph(): Promise<tf.GraphModel> {
  const sizes = [-1, 8, 8, 3].map(size => ({size}));
  const nodes = [
    {name: 'x', op: 'Placeholder', attr: {dtype: {type: 'DT_FLOAT'}, shape: {shape: {dim: sizes}}}},
    {name: 'conv', op: '_FusedConv2D', input: ['x', 'k', 'b'], attr: fused('Relu6')},
    {name: 'depth', op: 'FusedDepthwiseConv2dNative', input: ['conv', 'd', 'c'], attr: fused('Relu6')},
    {name: 'mirror', op: 'MirrorPad', input: ['depth', 'pads'], attr: {mode: {s: btoa('REFLECT')}}},
    {
      name: 'slice',
      op: 'StridedSlice',
      input: ['mirror', 'begin', 'end', 'steps'],
      attr: {begin_mask: {i: 9}, end_mask: {i: 9}},
    },
    {name: 'rows', op: 'Reshape', input: ['slice', 'flat']},
    {name: 'query', op: 'Einsum', input: ['rows', 'q'], attr: {equation: {s: btoa('abc,cde->abde')}, N: {i: 2}}},
    {
      name: 'scores',
      op: 'Einsum',
      input: ['query', 'query'],
      attr: {equation: {s: btoa('aecd,abcd->acbe')}, N: {i: 2}},
    },
    {name: 'weights', op: 'Softmax', input: ['scores']},
    {
      name: 'mixed',
      op: 'Einsum',
      input: ['weights', 'query'],
      attr: {equation: {s: btoa('acbe,aecd->abcd')}, N: {i: 2}},
    },
    {name: 'pooled', op: 'Mean', input: ['mixed', 'axis']},
    {name: 'joined', op: 'Reshape', input: ['pooled', 'join']},
    {name: 'y', op: 'MatMul', input: ['joined', 'w'], attr: {transpose_b: {b: true}}},
  ];
  const ints = (values: number[], shape?: number[]) => tf.tensor(values, shape ?? [values.length], 'int32');
  const constants = {
    k: random([3, 3, 3, 4], 1, 0.4),
    b: random([4], 2, 0.3),
    d: random([3, 3, 4, 1], 4, 0.4),
    c: random([4], 5, 0.3),
    pads: ints([0, 0, 1, 2, 2, 1, 0, 0], [4, 2]),
    begin: ints([0, 1, 0, 0]),
    end: ints([0, 11, 11, 0]),
    steps: ints([1, 2, 3, 1]),
    flat: ints([-1, 20, 4]),
    q: random([4, 2, 3], 6, 0.5),
    axis: ints([1]),
    join: ints([-1, 6]),
    w: random([3, 6], 7, 0.5),
  };
  return load(nodes, constants);
}

async function load(nodes: object[], constants: Record<string, tf.Tensor>): Promise<tf.GraphModel> {
  const {specs, data} = await tf.io.encodeWeights(constants);
  tf.dispose(constants);
  const stored = Object.keys(constants).map(name => ({name, op: 'Const', attr: {}}));
  return tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology: {node: [...stored, ...nodes], versions: {producer: 1, minConsumer: 1}},
      weightSpecs: specs,
      weightData: data,
    }),
  );
}

async function trained(origin: tf.GraphModel): Promise<tf.LayersModel> {
  const model = applyLoRA(await fromGraphModel(origin), {rank: 2, seed: 1});
  model.compile({optimizer: tf.train.momentum(0.05, 0.9), loss: 'meanSquaredError'});
  await model.fit(images(), random([4, 3], 8), {epochs: 5, batchSize: 4, shuffle: false, verbose: 0});
  return model;
}

async function fit(): Promise<number[]> {
  const model = applyLoRA(await fromGraphModel(await graph()), {rank: 2, seed: 1});
  model.compile({optimizer: tf.train.momentum(0.05, 0.9), loss: 'meanSquaredError'});
  const {history} = await model.fit(images(), random([4, 3], 8), {epochs: 5, batchSize: 4, shuffle: false, verbose: 0});
  return history.loss as number[];
}
