import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {UnadaptedLayer} from '../../../src/core/layers/unadaptedLayer';
import {LoRASeparableConv2D} from '../../../src/core/layers/loraSeparableConv2d';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import {removeLoRA} from '../../../src/core/model/restore';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, predictions, reloaded, type Specimen, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';
import {testInAModel} from './inAModel';

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
}

const EXAMPLE: Case = {
  image: [6, 5],
  channels: 4,
  filters: 5,
  kernelSize: [3, 2],
  strides: [1, 1],
  dilationRate: [1, 1],
  padding: 'same',
  dataFormat: 'channelsLast',
  activation: 'tanh',
  useBias: true,
};

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

const cases = fc
  .record({
    image: pair(5, 7),
    channels: fc.integer({min: 1, max: 4}),
    filters: fc.integer({min: 1, max: 5}),
    kernelSize: pair(1, 3),
    strides: pair(1, 3),
    dilationRate: pair(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
    activation: fc.constantFrom(...ACTIVATIONS),
    useBias: fc.boolean(),
  })
  .map((c): Case => ({
    ...c,
    // tfjs can only stride or dilate, not both, and has no channels-first bias here.
    dilationRate: Math.max(...c.strides) > 1 ? [1, 1] : c.dilationRate,
    useBias: c.useBias && c.dataFormat === 'channelsLast',
  }));

function rankOf({channels, filters}: Case): number {
  return Math.min(2, channels, filters);
}

function inputShape({image, channels, dataFormat}: Case): [number, number, number] {
  return dataFormat === 'channelsLast' ? [...image, channels] : [channels, ...image];
}

function base(c: Case, args: object = {}): tf.layers.Layer {
  const {filters, kernelSize, strides, dilationRate, padding, dataFormat, activation, useBias} = c;
  const own = {filters, kernelSize, strides, dilationRate, padding, dataFormat, activation, useBias};
  return tf.layers.separableConv2d({...own, name: 'separable', inputShape: inputShape(c), ...args});
}

/** An adapted SeparableConv2D with random weights and factors. */
function adapted(c: Case): LoRASeparableConv2D {
  const layer = new LoRASeparableConv2D({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `P + s·A·B` for its pointwise kernel, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  const pointwise = tf.tensor4d(mergedKernel(layer), [1, 1, c.channels, c.filters]);
  return base(c, {weights: [layer.tryGetParameter('depthwise_kernel')!, pointwise, ...(bias ? [bias] : [])]});
}

function images(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

/** A small model with two such layers. */
function xception(): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.separableConv2d({filters: 5, kernelSize: 3, activation: 'relu', name: 'first', inputShape: [7, 6, 3]}),
      layers.separableConv2d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 7, 6, 3], 3)]};
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRASeparableConv2D(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 3, filters: 7},
      {channels: 4, filters: 2},
    ],
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs: images,
    kernels: ['depthwise_kernel', 'pointwise_kernel'],
  });

  test('the factors are [1, 1, in, rank] and [rank, out], and delta has the shape of the pointwise kernel', () => {
    const layer = adapted(EXAMPLE);
    expect([layer.loraLayer.A.shape, layer.loraLayer.B.shape]).toEqual([
      [1, 1, 4, 2],
      [2, 5],
    ]);
    expect(layer.loraLayer.weight).toBe('pointwise_kernel');
    const delta = layer.loraLayer.delta();
    expect(delta.shape).toEqual([1, 1, 4, 5]);
    const merged = tf.tensor4d(mergedKernel(layer), [1, 1, 4, 5]);
    expect(numbers(delta)).toBeAllClose(numbers(tf.sub(merged, layer.tryGetParameter('pointwise_kernel')!)));
  });

  test.each([
    ['swish', [2, 1], 'valid', 'channelsLast'],
    ['relu', [1, 1], 'same', 'channelsLast'],
    ['softmax', [1, 2], 'same', 'channelsLast'],
    ['softmax', [1, 1], 'valid', 'channelsFirst'],
  ] as const)(
    'gradients with %s, strides %j, padding %s and %s are those of tfjs',
    async (activation, strides, padding, dataFormat) => {
      const useBias = dataFormat === 'channelsLast';
      const c: Case = {...EXAMPLE, activation, strides: [...strides], padding, dataFormat, useBias};
      const names = ['depthwise_kernel', 'pointwise_kernel', ...(useBias ? ['bias'] : []), 'lora_A', 'lora_B'];
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const act = (z: tf.Tensor) => tf.layers.activation({activation}).apply(z) as tf.Tensor;
        const f = (x: tf.Tensor, depthwise: tf.Tensor, pointwise: tf.Tensor, ...others: tf.Tensor[]) => {
          const [b, a, bias = tf.scalar(0)] = [others.pop()!, others.pop()!, others.pop()];
          const product = tf.reshape(tf.matMul(tf.reshape(a, [4, 2]), b), pointwise.shape);
          const kernel = tf.add<tf.Tensor4D>(pointwise, tf.mul(product, layer.scaling));
          const last = (useBias ? x : tf.transpose(x, [0, 2, 3, 1])) as tf.Tensor4D;
          const z = tf.separableConv2d(last, depthwise as tf.Tensor4D, kernel, [...strides], padding);
          const y = act(tf.add(z, bias));
          const restored = useBias ? y : tf.transpose(y, [0, 3, 1, 2]);
          return tf.mul(restored, random(restored.shape as [number, number], 8));
        };
        return tf.grads(f)([images(c), ...names.map(name => tf.clone(layer.tryGetParameter(name)!))]);
      });
      const actual = await on(backend, () => {
        const layer = new LoRASeparableConv2D({layer: base(c), rank: 2, alpha: 4, freezeBaseLayer: false});
        layer.apply(tf.input({shape: inputShape(c)}));
        const frozen = adapted(c);
        names.forEach(name => layer.setParameter(name, frozen.tryGetParameter(name)!));
        const x = images(c);
        const f = (of: LoRALayer) => (input: tf.Tensor) => {
          const y = of.apply(input) as tf.Tensor;
          return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as [number, number], 8)));
        };
        const gradientsOf = (of: LoRALayer) => {
          const variables = names.map(name => of.tryGetParameter(name) as tf.Variable);
          const trained = variables.filter(({trainable}) => trainable);
          const {grads} = tf.variableGrads(() => f(of)(x), trained);
          return [tf.grad(f(of))(x), ...trained.map(({name}) => grads[name]!)];
        };
        return [...gradientsOf(layer), ...gradientsOf(frozen)];
      });
      expectGradients(actual, [...expected, expected[0]!, ...expected.slice(-2)]);
    },
  );

  test.each([
    [[1, 2] as Pair, 'valid' as const],
    [[2, 2] as Pair, 'same' as const],
  ])('a dilation of %j with padding %s trains, for which tfjs has no gradient', async (dilationRate, padding) => {
    const c: Case = {...EXAMPLE, image: [7, 7], dilationRate, padding, activation: 'relu'};
    const stock = tf.sequential({layers: [base(c)]});
    const layer = new LoRASeparableConv2D({layer: base(c), rank: 3, seed: 1, freezeBaseLayer: false});
    const model = tf.sequential({layers: [layer]});
    stir(model);
    const x = images(c);
    const y = tf.relu(random([2, ...(model.outputShape as number[]).slice(1)], 3));
    stock.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(stock.fit(x, y, {verbose: 0})).rejects.toThrow('dilation');
    model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
    const {history} = await model.fit(x, y, {epochs: 10, verbose: 0});
    expect(history.loss!.at(-1)).toBeLessThan(0.8 * (history.loss![0] as number));
  });

  test('gradients of a dilated one are those of a kernel with zeros between its entries', async () => {
    const c: Case = {...EXAMPLE, dilationRate: [2, 3], kernelSize: [2, 2], activation: 'linear', useBias: false};
    const expected = await on('cpu', () => {
      const layer = adapted(c);
      const [depthwise, pointwise, a, b] = ['depthwise_kernel', 'pointwise_kernel', 'lora_A', 'lora_B'].map(name =>
        layer.tryGetParameter(name)!,
      );
      const f = (x: tf.Tensor, kernel: tf.Tensor, fa: tf.Tensor, fb: tf.Tensor) => {
        const [[k00, k01], [k10, k11]] = tf.split(kernel, 2, 0).map(row => tf.split(row, 2, 1)) as [
          [tf.Tensor, tf.Tensor],
          [tf.Tensor, tf.Tensor],
        ];
        const zeros = (h: number, w: number) => tf.zeros([h, w, 4, 1]);
        const rows = [tf.concat([k00, zeros(1, 2), k01], 1), zeros(1, 4), tf.concat([k10, zeros(1, 2), k11], 1)];
        const product = tf.reshape(tf.matMul(tf.reshape(fa, [4, 2]), fb), [1, 1, 4, 5]);
        const updated = tf.add<tf.Tensor4D>(pointwise!, tf.mul(product, layer.scaling));
        return tf.square(tf.separableConv2d(x as tf.Tensor4D, tf.concat(rows) as tf.Tensor4D, updated, 1, 'same'));
      };
      return tf.grads(f)([images(c), ...[depthwise, a, b].map(value => tf.clone(value!))]);
    });
    const actual = await on(backend, () => {
      const frozen = adapted(c);
      const layer = new LoRASeparableConv2D({layer: base(c), rank: 2, alpha: 4, freezeBaseLayer: false});
      layer.apply(tf.input({shape: inputShape(c)}));
      frozen.getParameterNames().forEach(name => layer.setParameter(name, frozen.tryGetParameter(name)!));
      const variables = ['depthwise_kernel', 'lora_A', 'lora_B'].map(
        name => layer.tryGetParameter(name) as tf.Variable,
      );
      const f = (x: tf.Tensor) => tf.sum<tf.Scalar>(tf.square(layer.apply(x) as tf.Tensor));
      const {grads} = tf.variableGrads(() => f(images(c)), variables);
      return [tf.grad(f)(images(c)), ...variables.map(({name}) => grads[name]!)];
    });
    expectGradients(actual, expected);
  });

  testInAModel('LoRASeparableConv2D', xception);
});

describe('whatever the backend', () => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  test('comes back from its config as it was', () => {
    const layer = new LoRASeparableConv2D({
      layer: base({...EXAMPLE, dilationRate: [2, 2]}),
      rank: 3,
      alpha: 5,
      seed: 9,
    });
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = LoRASeparableConv2D.fromConfig<LoRASeparableConv2D>(LoRASeparableConv2D, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: inputShape(EXAMPLE)})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new LoRASeparableConv2D({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      'Layer "other" is a Dense; LoRASeparableConv2D adapts layers of class SeparableConv2D.',
    );
    const layer = new LoRASeparableConv2D({layer: base(EXAMPLE), rank: 5});
    expect(() => layer.build([null, 6, 5, 4])).toThrow(/Layer "separable" has a kernel .*above 4 .*got 5/);
  });

  test.each([
    [{depthMultiplier: 2}, /Layer "separable" has depthMultiplier 2, which tfjs forgets.*DepthwiseConv2D and a Conv2D/],
    [
      {dataFormat: 'channelsFirst'},
      /Layer "separable" has dataFormat "channelsFirst" and a bias.*along a wrong axis.*Permute/,
    ],
  ])('refuses %j', (args, message) => {
    expect(() => new LoRASeparableConv2D({layer: base(EXAMPLE, args)})).toThrow(LoRAError);
    expect(() => new LoRASeparableConv2D({layer: base(EXAMPLE, args)})).toThrow(message);
  });

  test('one with a depth multiplier stands frozen in an adapted model, and is saved and restored with it', async () => {
    const model = tf.sequential({
      layers: [
        base(EXAMPLE, {depthMultiplier: 2}),
        tf.layers.flatten({name: 'flat'}),
        tf.layers.dense({units: 2, name: 'head'}),
      ],
    });
    stir(model);
    const x = images(EXAMPLE);
    const expected = predictions(model, [x]);
    const lora = applyLoRA(model, {targets: ['head'], rank: 1});
    expect(predictions(lora, [x])).toEqual(expected);
    expect(predictions(await reloaded(lora), [x])).toEqual(expected);
    expect(predictions(removeLoRA(lora), [x])).toEqual(expected);
  });

  test('tfjs does forget the one, and add the other along a wrong axis', () => {
    expect(base(EXAMPLE, {depthMultiplier: 2}).getConfig()).not.toHaveProperty('depthMultiplier');
    const x = random([2, 4, 6, 5], 9);
    expect(() => base({...EXAMPLE, dataFormat: 'channelsFirst'}).apply(x)).toThrow('could not be broadcast');
  });

  test('frozen, channels-first and with a bias it computes what the stock layer computes, wrong as that is', () => {
    const c: Case = {...EXAMPLE, image: [5, 6], dataFormat: 'channelsFirst'};
    const model = tf.sequential({layers: [base(c)]});
    stir(model);
    const x = images(c);
    const expected = model.predict(x) as tf.Tensor;
    const frozen = new UnadaptedLayer({layer: model.layers[0]!});
    expect(numbers(frozen.apply(x) as tf.Tensor)).toEqual(numbers(expected));
  });
});
