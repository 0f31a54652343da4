import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {LoRAConv3D} from '../../../src/core/layers/loraConv3d';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, type Specimen, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';
import {testInAModel} from './inAModel';

type Triple = [number, number, number];

interface Case {
  volume: Triple;
  channels: number;
  filters: number;
  kernelSize: Triple;
  strides: Triple;
  dilationRate: Triple;
  dataFormat: 'channelsLast' | 'channelsFirst';
  padding: 'valid' | 'same';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
}

const EXAMPLE: Case = {
  volume: [4, 5, 4],
  channels: 2,
  filters: 5,
  kernelSize: [2, 3, 2],
  strides: [1, 1, 1],
  dilationRate: [1, 1, 1],
  dataFormat: 'channelsLast',
  padding: 'same',
  activation: 'tanh',
  useBias: true,
};

function triple(min: number, max: number): fc.Arbitrary<Triple> {
  const size = fc.integer({min, max});
  return fc.tuple(size, size, size);
}

const cases = fc
  .record({
    volume: triple(5, 6),
    channels: fc.integer({min: 1, max: 3}),
    filters: fc.integer({min: 1, max: 5}),
    kernelSize: triple(1, 3),
    strides: triple(1, 3),
    dilationRate: triple(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
    activation: fc.constantFrom(...ACTIVATIONS),
    useBias: fc.boolean(),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilationRate: Math.max(...c.strides) > 1 ? [1, 1, 1] : c.dilationRate}));

function fanIn({kernelSize, channels}: Case): number {
  return kernelSize.reduce((product, size) => product * size, channels);
}

function rankOf(c: Case): number {
  return Math.min(2, fanIn(c), c.filters);
}

function inputShape({volume, channels, dataFormat}: Case): [number, number, number, number] {
  return dataFormat === 'channelsLast' ? [...volume, channels] : [channels, ...volume];
}

function base(c: Case, args: object = {}): tf.layers.Layer {
  const {volume, channels, ...own} = c;
  return tf.layers.conv3d({...own, name: 'conv', inputShape: inputShape(c), ...args});
}

/** An adapted Conv3D with random weights and factors. */
function adapted(c: Case): LoRAConv3D {
  const layer = new LoRAConv3D({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `W + s·A·B` for its kernel, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  return base(c, {
    weights: [tf.tensor5d(mergedKernel(layer), [...c.kernelSize, c.channels, c.filters]), ...(bias ? [bias] : [])],
  });
}

function volumes(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

/** A small model with two such layers. */
function scanner(): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.conv3d({filters: 5, kernelSize: 2, activation: 'relu', name: 'first', inputShape: [4, 5, 4, 3]}),
      layers.conv3d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 4, 5, 4, 3], 3)]};
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRAConv3D(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 1, filters: 7},
      {channels: 3, filters: 4},
    ],
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs: volumes,
  });

  test('the factors are [kd, kh, kw, in, rank] and [rank, out], and delta has the shape of the kernel', () => {
    const layer = adapted(EXAMPLE);
    expect([layer.loraLayer.A.shape, layer.loraLayer.B.shape]).toEqual([
      [2, 3, 2, 2, 2],
      [2, 5],
    ]);
    const kernel = mergedByHand(layer, EXAMPLE);
    kernel.apply(volumes(EXAMPLE));
    const expected = tf.sub(kernel.getWeights()[0]!, layer.tryGetParameter('kernel')!);
    expect(layer.loraLayer.delta().shape).toEqual([2, 3, 2, 2, 5]);
    expect(numbers(layer.loraLayer.delta())).toBeAllClose(numbers(expected));
  });

  test.each(['swish', 'relu', 'softmax'] as const)('gradients with %s are those of tfjs', async activation => {
    for (const form of [
      {strides: [2, 1, 2] as Triple, padding: 'valid' as const},
      {dataFormat: 'channelsFirst' as const},
    ]) {
      const c: Case = {...EXAMPLE, ...form, activation};
      const inputs = (layer: LoRAConv3D) =>
        [volumes(c), layer.loraLayer.A, layer.loraLayer.B].map(value => tf.clone(value));
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const [w, bias] = [layer.tryGetParameter('kernel')!, layer.tryGetParameter('bias')!];
        const act = (z: tf.Tensor) => tf.layers.activation({activation}).apply(z) as tf.Tensor;
        return tf.grads((x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
          const product = tf.reshape(tf.matMul(tf.reshape(a, [-1, 2]), b), w.shape);
          const kernel = tf.add<tf.Tensor5D>(w, tf.mul(product, layer.scaling));
          const first = c.dataFormat === 'channelsFirst';
          const last = (first ? tf.transpose(x, [0, 2, 3, 4, 1]) : x) as tf.Tensor5D;
          const z = tf.add(tf.conv3d(last, kernel, c.strides, c.padding), bias);
          const y = act(first ? tf.transpose(z, [0, 4, 1, 2, 3]) : z);
          return tf.mul(y, random(y.shape as [number, number], 8));
        })(inputs(layer));
      });
      const actual = await on(backend, () => {
        const layer = adapted(c);
        const x = volumes(c);
        const variables = layer.trainableWeights.map(weight => weight.read() as tf.Variable);
        const f = (input: tf.Tensor) => {
          const y = layer.apply(input) as tf.Tensor;
          return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as [number, number], 8)));
        };
        const {grads} = tf.variableGrads(() => f(x), variables);
        return [tf.grad(f)(x), ...variables.map(({name}) => grads[name]!)];
      });
      expectGradients(actual, expected);
    }
  });

  test.each([
    [[1, 2, 1] as Triple, 'valid' as const],
    [[2, 2, 3] as Triple, 'same' as const],
  ])('a dilation of %j with padding %s trains, for which tfjs has no gradient', async (dilationRate, padding) => {
    const c: Case = {...EXAMPLE, dilationRate, padding, activation: 'relu'};
    const stock = tf.sequential({layers: [base(c)]});
    const model = tf.sequential({layers: [new LoRAConv3D({layer: base(c), rank: 3, seed: 1})]});
    stir(model);
    const x = volumes(c);
    const y = tf.relu(random([2, ...(model.outputShape as number[]).slice(1)], 3));
    stock.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(stock.fit(x, y, {verbose: 0})).rejects.toThrow(/dilation/i);
    model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
    const {history} = await model.fit(x, y, {epochs: 10, verbose: 0});
    expect(history.loss!.at(-1)).toBeLessThan(0.8 * (history.loss![0] as number));
  });

  testInAModel('LoRAConv3D', scanner);
});

describe('whatever the backend', () => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  test('comes back from its config as it was', () => {
    const layer = new LoRAConv3D({layer: base({...EXAMPLE, dilationRate: [2, 1, 2]}), rank: 3, alpha: 5, seed: 9});
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = LoRAConv3D.fromConfig<LoRAConv3D>(LoRAConv3D, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: inputShape(EXAMPLE)})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new LoRAConv3D({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      'Layer "other" is a Dense; LoRAConv3D adapts layers of class Conv3D.',
    );
    const layer = new LoRAConv3D({layer: base(EXAMPLE), rank: 6});
    expect(() => layer.build([null, 4, 5, 4, 2])).toThrow(/Layer "conv" has a kernel .*above 5 .*got 6/);
  });
});
