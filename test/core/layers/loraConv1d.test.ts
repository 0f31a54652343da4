import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {LoRAError} from '../../../src/platform/errors';
import {LoRAConv1D} from '../../../src/core/layers/loraConv1d';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, type Specimen, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';
import {testInAModel} from './inAModel';

interface Case {
  width: number;
  channels: number;
  filters: number;
  kernelSize: number;
  strides: number;
  dilationRate: number;
  padding: 'valid' | 'same';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
}

const EXAMPLE: Case = {
  width: 7,
  channels: 4,
  filters: 5,
  kernelSize: 3,
  strides: 1,
  dilationRate: 1,
  padding: 'same',
  activation: 'tanh',
  useBias: true,
};

const cases = fc
  .record({
    width: fc.integer({min: 5, max: 9}),
    channels: fc.integer({min: 1, max: 4}),
    filters: fc.integer({min: 1, max: 5}),
    kernelSize: fc.integer({min: 1, max: 3}),
    strides: fc.integer({min: 1, max: 3}),
    dilationRate: fc.integer({min: 1, max: 2}),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    activation: fc.constantFrom(...ACTIVATIONS),
    useBias: fc.boolean(),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilationRate: c.strides > 1 ? 1 : c.dilationRate}));

function rankOf({kernelSize, channels, filters}: Case): number {
  return Math.min(2, kernelSize * channels, filters);
}

function inputShape({width, channels}: Case): [number, number] {
  return [width, channels];
}

function base({width, channels, ...own}: Case, args: object = {}): tf.layers.Layer {
  return tf.layers.conv1d({...own, name: 'conv', inputShape: [width, channels], ...args});
}

/** An adapted Conv1D with random weights and factors. */
function adapted(c: Case): LoRAConv1D {
  const layer = new LoRAConv1D({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `W + s·A·B` for its kernel, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  return base(c, {
    weights: [tf.tensor3d(mergedKernel(layer), [c.kernelSize, c.channels, c.filters]), ...(bias ? [bias] : [])],
  });
}

function sequences(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

/** A small model with two such layers. */
function spotter(): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.conv1d({filters: 5, kernelSize: 3, activation: 'relu', name: 'first', inputShape: [12, 3]}),
      layers.conv1d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 12, 3], 3)]};
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRAConv1D(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 1, filters: 7, width: 8},
      {channels: 4, filters: 3, width: 5},
    ],
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs: sequences,
  });

  test('the factors are [k, in, rank] and [rank, out], and delta has the shape of the kernel', () => {
    const layer = adapted(EXAMPLE);
    expect([layer.loraLayer.A.shape, layer.loraLayer.B.shape]).toEqual([
      [3, 4, 2],
      [2, 5],
    ]);
    const kernel = mergedByHand(layer, EXAMPLE);
    kernel.apply(sequences(EXAMPLE));
    const expected = tf.sub(kernel.getWeights()[0]!, layer.tryGetParameter('kernel')!);
    expect(layer.loraLayer.delta().shape).toEqual([3, 4, 5]);
    expect(numbers(layer.loraLayer.delta())).toBeAllClose(numbers(expected));
  });

  test.each(['swish', 'relu', 'softmax'] as const)('gradients with %s are those of tfjs', async activation => {
    for (const form of [
      {strides: 2, padding: 'valid' as const},
      {strides: 1, padding: 'same' as const},
    ]) {
      const c: Case = {...EXAMPLE, ...form, activation};
      const inputs = (layer: LoRAConv1D) =>
        [sequences(c), layer.loraLayer.A, layer.loraLayer.B].map(value => tf.clone(value));
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const [w, bias] = [layer.tryGetParameter('kernel')!, layer.tryGetParameter('bias')!];
        const act = (z: tf.Tensor) => tf.layers.activation({activation}).apply(z) as tf.Tensor;
        return tf.grads((x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
          const product = tf.reshape(tf.matMul(tf.reshape(a, [-1, 2]), b), w.shape);
          const kernel = tf.add<tf.Tensor3D>(w, tf.mul(product, layer.scaling));
          const y = act(tf.add(tf.conv1d(x as tf.Tensor3D, kernel, c.strides, c.padding), bias));
          return tf.mul(y, random(y.shape as [number, number], 8));
        })(inputs(layer));
      });
      const actual = await on(backend, () => {
        const layer = adapted(c);
        const x = sequences(c);
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
    [2, 'valid' as const],
    [3, 'same' as const],
  ])('a dilation of %i with padding %s trains, for which tfjs has no gradient', async (dilationRate, padding) => {
    const c: Case = {...EXAMPLE, width: 10, dilationRate, padding, activation: 'relu'};
    const stock = tf.sequential({layers: [base(c)]});
    const model = tf.sequential({layers: [new LoRAConv1D({layer: base(c), rank: 3, seed: 1})]});
    stir(model);
    const x = sequences(c);
    const y = tf.relu(random([2, ...(model.outputShape as number[]).slice(1)], 3));
    stock.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(stock.fit(x, y, {verbose: 0})).rejects.toThrow('dilation');
    model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
    const {history} = await model.fit(x, y, {epochs: 10, verbose: 0});
    expect(history.loss!.at(-1)).toBeLessThan(0.8 * (history.loss![0] as number));
  });

  testInAModel('LoRAConv1D', spotter);
});

describe('whatever the backend', () => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  test('comes back from its config as it was', () => {
    const layer = new LoRAConv1D({layer: base({...EXAMPLE, dilationRate: 2}), rank: 3, alpha: 5, seed: 9});
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = LoRAConv1D.fromConfig<LoRAConv1D>(LoRAConv1D, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: inputShape(EXAMPLE)})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new LoRAConv1D({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      'Layer "other" is a Dense; LoRAConv1D adapts layers of class Conv1D.',
    );
    const layer = new LoRAConv1D({layer: base(EXAMPLE), rank: 6});
    expect(() => layer.build([null, 7, 4])).toThrow(/Layer "conv" has a kernel .*above 5 .*got 6/);
  });

  test.each([
    [{padding: 'causal'}, /Layer "conv" has padding "causal".*exclude the layer/],
    [{dataFormat: 'channelsFirst'}, /Layer "conv" has dataFormat "channelsFirst".*Permute/],
  ])('refuses %j', (args, message) => {
    expect(() => new LoRAConv1D({layer: base(EXAMPLE, args)})).toThrow(LoRAError);
    expect(() => new LoRAConv1D({layer: base(EXAMPLE, args)})).toThrow(message);
  });
});
