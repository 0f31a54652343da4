import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {LoRAConv2D} from '../../../src/core/layers/loraConv2d';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';

type Pair = [number, number];

interface Case {
  image: Pair;
  channels: number;
  filters: number;
  kernelSize: Pair;
  strides: Pair;
  dilationRate: Pair;
  padding: 'valid' | 'same';
  dataFormat: 'channelsLast' | 'channelsFirst';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
  rank: number;
}

const EXAMPLE: Case = {
  image: [6, 5],
  channels: 2,
  filters: 5,
  kernelSize: [3, 2],
  strides: [1, 1],
  dilationRate: [1, 1],
  padding: 'same',
  dataFormat: 'channelsLast',
  activation: 'tanh',
  useBias: true,
  rank: 3,
};

const cases = fc
  .record({
    image: pair(5, 7),
    channels: fc.integer({min: 1, max: 3}),
    filters: fc.integer({min: 1, max: 5}),
    kernelSize: pair(1, 3),
    strides: pair(1, 2),
    dilationRate: pair(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
    activation: fc.constantFrom(...ACTIVATIONS),
    useBias: fc.boolean(),
  })
  .map((c): Case => {
    const fanIn = c.kernelSize[0] * c.kernelSize[1] * c.channels;
    const strided = Math.max(...c.strides) > 1;
    return {
      ...c,
      // tfjs can only stride or dilate, not both.
      dilationRate: strided ? [1, 1] : c.dilationRate,
      rank: Math.min(2, fanIn, c.filters),
    };
  });

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

function inputShape({image, channels, dataFormat}: Case): [number, number, number] {
  return dataFormat === 'channelsLast' ? [...image, channels] : [channels, ...image];
}

function base(c: Case, args: object = {}): tf.layers.Layer {
  const {kernelSize, strides, dilationRate, padding, dataFormat, activation, useBias} = c;
  const own = {filters: c.filters, kernelSize, strides, dilationRate, padding, dataFormat};
  return tf.layers.conv2d({...own, activation, useBias, inputShape: inputShape(c), ...args});
}

/** An adapted Conv2D with random weights and factors. */
function adapted(c: Case): LoRAConv2D {
  const layer = new LoRAConv2D({layer: base(c), rank: c.rank, alpha: 2 * c.rank});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** `W + s·A·B`, `A` being a convolution to `rank` channels and `B` one of size 1×1. */
function kernelByHand(layer: LoRALayer, {kernelSize, channels, filters}: Case): tf.Tensor4D {
  return tf.tensor4d(mergedKernel(layer), [...kernelSize, channels, filters]);
}

/** The stock layer that has this kernel. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  return base(c, {weights: [kernelByHand(layer, c), ...(bias ? [bias] : [])]});
}

function images(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRAConv2D(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 1, filters: 7},
      {channels: 4, filters: 3},
    ],
    base,
    rankOf: ({rank}) => rank,
    adapted,
    mergedByHand,
    inputs: images,
  });

  test('delta is s·A·B in the shape of the kernel', () => {
    const layer = adapted(EXAMPLE);
    const delta = layer.loraLayer.delta();
    expect(delta.shape).toEqual([3, 2, 2, 5]);
    const expected = tf.sub(kernelByHand(layer, EXAMPLE), layer.tryGetParameter('kernel')!);
    expect(numbers(delta)).toBeAllClose(numbers(expected));
  });

  test('the branch is a convolution to rank channels and one of size 1×1', () => {
    const c: Case = {...EXAMPLE, activation: 'linear', strides: [2, 1], padding: 'valid'};
    const layer = adapted(c);
    const [a, b] = [layer.loraLayer.A, layer.loraLayer.B];
    expect([a.shape, b.shape]).toEqual([
      [3, 2, 2, 3],
      [3, 5],
    ]);
    const x = images(c) as tf.Tensor4D;
    const down = tf.conv2d(x, a as tf.Tensor4D, c.strides, c.padding);
    const low = tf.conv2d(down, tf.reshape(b, [1, 1, 3, 5]), 1, 'same');
    const y = layer.apply(x) as tf.Tensor;
    layer.setParameter('lora_B', tf.zeros([3, 5]));
    const expected = tf.add(layer.apply(x) as tf.Tensor, tf.mul(low, layer.scaling));
    expect(numbers(y)).toBeAllClose(numbers(expected));
  });

  test('gradients through channels-first images are those of the transposed ones', async () => {
    for (const strides of [
      [1, 1],
      [2, 1],
    ] as Pair[]) {
      const c: Case = {...EXAMPLE, strides, dataFormat: 'channelsFirst'};
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const [w, bias, a, b] = ['kernel', 'bias', 'lora_A', 'lora_B'].map(name => layer.tryGetParameter(name)!);
        const f = (x: tf.Tensor, fa: tf.Tensor, fb: tf.Tensor) => {
          const product = tf.matMul(tf.reshape(fa, [-1, c.rank]), fb);
          const kernel = tf.add(w!, tf.mul(tf.reshape(product, w!.shape), layer.scaling));
          const last = tf.transpose(x, [0, 2, 3, 1]) as tf.Tensor4D;
          const z = tf.conv2d(last, kernel as tf.Tensor4D, c.strides, c.padding);
          return tf.transpose(tf.tanh(tf.add(z, bias!)), [0, 3, 1, 2]);
        };
        return tf.grads(f)([images(c), tf.clone(a!), tf.clone(b!)]);
      });
      const actual = await on(backend, () => {
        const layer = adapted(c);
        const x = images(c);
        const variables = layer.trainableWeights.map(weight => weight.read() as tf.Variable);
        const loss = () => tf.sum<tf.Scalar>(layer.apply(x) as tf.Tensor);
        const {grads} = tf.variableGrads(loss, variables);
        const dx = tf.grad(input => layer.apply(input) as tf.Tensor)(x);
        return [dx, ...variables.map(({name}) => grads[name]!)];
      });
      expectGradients(actual, expected);
    }
  });

  test.each([
    [[1, 2] as Pair, 'valid' as const],
    [[2, 2] as Pair, 'same' as const],
    [[3, 2] as Pair, 'same' as const],
  ])('a dilation of %j with padding %s trains, for which tfjs has no gradient', async (rate, padding) => {
    const c: Case = {...EXAMPLE, image: [8, 8], dilationRate: rate, padding, activation: 'relu'};
    const stock = tf.sequential({layers: [base(c)]});
    const model = tf.sequential({layers: [new LoRAConv2D({layer: base(c), rank: 3, seed: 1})]});
    stir(model);
    const x = images(c);
    const y = tf.relu(random([2, ...(model.outputShape as number[]).slice(1)], 3));
    stock.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(stock.fit(x, y, {verbose: 0})).rejects.toThrow('dilation');
    model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
    const {history} = await model.fit(x, y, {epochs: 10, verbose: 0});
    expect(history.loss!.at(-1)).toBeLessThan(0.8 * (history.loss![0] as number));
  });

  test('3×3, 256 → 256 at rank 8 trains 20,480 numbers instead of 589,824', async () => {
    const layer = new LoRAConv2D({
      layer: tf.layers.conv2d({
        filters: 256,
        kernelSize: 3,
        useBias: false,
        kernelInitializer: 'zeros',
      }),
    });
    layer.build([null, 8, 8, 256]);
    const {trainableParameters, totalParameters} = await layer.getDiagnostics();
    expect(trainableParameters).toBe('20480');
    expect(totalParameters).toBe(String(20_480 + 589_824));
  });
});
