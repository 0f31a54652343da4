import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {LoRAConv2DTranspose} from '../../../src/core/layers/loraConv2dTranspose';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, type Specimen, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';
import {testInAModel} from './inAModel';

type Pair = [number, number];

interface Case {
  image: Pair;
  channels: number;
  filters: number;
  kernelSize: Pair;
  strides: Pair;
  dataFormat: 'channelsLast' | 'channelsFirst';
  padding: 'valid' | 'same';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
}

const EXAMPLE: Case = {
  image: [3, 4],
  channels: 5,
  filters: 3,
  kernelSize: [3, 2],
  strides: [2, 1],
  padding: 'same',
  dataFormat: 'channelsLast',
  activation: 'tanh',
  useBias: true,
};

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

const cases = fc.record({
  image: pair(1, 4),
  channels: fc.integer({min: 1, max: 5}),
  filters: fc.integer({min: 1, max: 4}),
  kernelSize: pair(1, 3),
  strides: pair(1, 3),
  padding: fc.constantFrom('valid' as const, 'same' as const),
  dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
  activation: fc.constantFrom(...ACTIVATIONS),
  useBias: fc.boolean(),
});

function rankOf({kernelSize, channels, filters}: Case): number {
  return Math.min(2, kernelSize[0] * kernelSize[1] * filters, channels);
}

function inputShape({image, channels, dataFormat}: Case): [number, number, number] {
  return dataFormat === 'channelsLast' ? [...image, channels] : [channels, ...image];
}

function base(c: Case, args: object = {}): tf.layers.Layer {
  const {kernelSize, strides, padding, dataFormat, activation, useBias} = c;
  const own = {filters: c.filters, kernelSize, strides, padding, dataFormat, activation, useBias};
  return tf.layers.conv2dTranspose({...own, name: 'conv', inputShape: inputShape(c), ...args});
}

/** An adapted Conv2DTranspose with random weights and factors. */
function adapted(c: Case): LoRAConv2DTranspose {
  const layer = new LoRAConv2DTranspose({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `W + s·A·B` for its kernel, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  return base(c, {
    weights: [tf.tensor4d(mergedKernel(layer), [...c.kernelSize, c.filters, c.channels]), ...(bias ? [bias] : [])],
  });
}

function images(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

/** A small model with two such layers. */
function decoder(): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.conv2dTranspose({
        filters: 4,
        kernelSize: 3,
        strides: 2,
        activation: 'relu',
        name: 'first',
        inputShape: [3, 2, 5],
      }),
      layers.conv2dTranspose({filters: 2, kernelSize: 2, padding: 'same', name: 'second'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 3, 2, 5], 3)]};
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRAConv2DTranspose(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 2, filters: 7},
      {channels: 6, filters: 1},
    ],
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs: images,
  });

  test('the factors are [kh, kw, out, rank] and [rank, in], and delta has the shape of the kernel', () => {
    const layer = adapted(EXAMPLE);
    expect([layer.loraLayer.A.shape, layer.loraLayer.B.shape]).toEqual([
      [3, 2, 3, 2],
      [2, 5],
    ]);
    const kernel = mergedByHand(layer, EXAMPLE);
    kernel.apply(images(EXAMPLE));
    const expected = tf.sub(kernel.getWeights()[0]!, layer.tryGetParameter('kernel')!);
    expect(layer.loraLayer.delta().shape).toEqual([3, 2, 3, 5]);
    expect(numbers(layer.loraLayer.delta())).toBeAllClose(numbers(expected));
  });

  test.each(['swish', 'relu', 'softmax'] as const)('gradients with %s are those of tfjs', async activation => {
    for (const form of [{strides: [2, 3] as Pair, padding: 'valid' as const}, {dataFormat: 'channelsFirst' as const}]) {
      const c: Case = {...EXAMPLE, ...form, activation};
      const inputs = (layer: LoRAConv2DTranspose) =>
        [images(c), layer.loraLayer.A, layer.loraLayer.B].map(value => tf.clone(value));
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const [w, bias] = [layer.tryGetParameter('kernel')!, layer.tryGetParameter('bias')!];
        const act = (z: tf.Tensor) => tf.layers.activation({activation}).apply(z) as tf.Tensor;
        return tf.grads((x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
          const product = tf.reshape(tf.matMul(tf.reshape(a, [-1, 2]), b), w.shape);
          const kernel = tf.add<tf.Tensor4D>(w, tf.mul(product, layer.scaling));
          const first = c.dataFormat === 'channelsFirst';
          const last = (first ? tf.transpose(x, [0, 2, 3, 1]) : x) as tf.Tensor4D;
          const [height, width] = c.image.map((size, i) => {
            const [k, stride] = [c.kernelSize[i]!, c.strides[i]!];
            return size * stride + (c.padding === 'valid' ? Math.max(k - stride, 0) : 0);
          }) as Pair;
          const shape: tf.Tensor4D['shape'] = [2, height, width, c.filters];
          const z = tf.add(tf.conv2dTranspose(last, kernel, shape, c.strides, c.padding), bias);
          const y = act(first ? tf.transpose(z, [0, 3, 1, 2]) : z);
          return tf.mul(y, random(y.shape as [number, number], 8));
        })(inputs(layer));
      });
      const actual = await on(backend, () => {
        const layer = adapted(c);
        const x = images(c);
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

  test('the branch makes rank channels and convolves these, transposed', () => {
    const c: Case = {...EXAMPLE, activation: 'linear', useBias: false};
    const layer = adapted(c);
    const {A, B} = layer.loraLayer;
    const x = images(c) as tf.Tensor4D;
    const channels = tf.conv2d(x, tf.reshape<tf.Rank.R4>(tf.transpose(B), [1, 1, 5, 2]), 1, 'same');
    const low = tf.conv2dTranspose(channels, A as tf.Tensor4D, [2, 6, 4, 3], c.strides, c.padding);
    const y = layer.apply(x) as tf.Tensor;
    layer.setParameter('lora_B', tf.zeros([2, 5]));
    const expected = tf.add(layer.apply(x) as tf.Tensor, tf.mul(low, layer.scaling));
    expect(numbers(y)).toBeAllClose(numbers(expected));
  });

  testInAModel('LoRAConv2DTranspose', decoder);
});

describe('whatever the backend', () => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  test('comes back from its config as it was', () => {
    const layer = new LoRAConv2DTranspose({
      layer: base({...EXAMPLE, dataFormat: 'channelsFirst'}),
      rank: 3,
      alpha: 5,
      seed: 9,
    });
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = LoRAConv2DTranspose.fromConfig<LoRAConv2DTranspose>(LoRAConv2DTranspose, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: [5, 3, 4]})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('starts A between ±1/√(kh·kw·out), and B at zero', () => {
    const layer = new LoRAConv2DTranspose({layer: base({...EXAMPLE, filters: 40, channels: 9}), seed: 5});
    layer.build([null, 3, 4, 9]);
    const a = numbers(layer.loraLayer.A).map(value => Math.abs(value) * Math.sqrt(3 * 2 * 40));
    expect(a).toHaveLength(3 * 2 * 40 * 8);
    expect(Math.max(...a)).toBeLessThanOrEqual(1 + 1e-6);
    expect(Math.max(...a)).toBeGreaterThan(0.99);
    expect(new Set(numbers(layer.loraLayer.B))).toEqual(new Set([0]));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new LoRAConv2DTranspose({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      'Layer "other" is a Dense; LoRAConv2DTranspose adapts layers of class Conv2DTranspose.',
    );
    const layer = new LoRAConv2DTranspose({layer: base(EXAMPLE), rank: 6});
    expect(() => layer.build([null, 3, 4, 5])).toThrow(/Layer "conv" has a kernel .*above 5 .*got 6/);
  });
});
