import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {LoRADepthwiseConv2D} from '../../../src/core/layers/loraDepthwiseConv2d';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {ACTIVATIONS, BACKENDS, expectGradients, numbers, on, random, useBackend} from '../../helpers';
import {mergedKernel, predictions, type Specimen, stir, stirFactors} from '../../models';
import {testConvolution} from './convolutionKind';
import {testInAModel} from './inAModel';

type Pair = [number, number];

interface Case {
  image: Pair;
  channels: number;
  depthMultiplier: number;
  kernelSize: Pair;
  strides: Pair;
  dilationRate: Pair;
  dataFormat: 'channelsLast' | 'channelsFirst';
  padding: 'valid' | 'same';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
}

const EXAMPLE: Case = {
  image: [6, 5],
  channels: 3,
  depthMultiplier: 2,
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

const cases = fc.record({
  image: pair(3, 7),
  channels: fc.integer({min: 1, max: 4}),
  depthMultiplier: fc.integer({min: 1, max: 3}),
  kernelSize: pair(1, 3),
  strides: pair(1, 3),
  dilationRate: pair(1, 2),
  padding: fc.constantFrom('valid' as const, 'same' as const),
  dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
  activation: fc.constantFrom(...ACTIVATIONS),
  useBias: fc.boolean(),
});

function rankOf({kernelSize, channels, depthMultiplier}: Case): number {
  return Math.min(2, kernelSize[0] * kernelSize[1], channels * depthMultiplier);
}

function inputShape({image, channels, dataFormat}: Case): [number, number, number] {
  return dataFormat === 'channelsLast' ? [...image, channels] : [channels, ...image];
}

function base({image, channels, ...own}: Case, args: object = {}): tf.layers.Layer {
  const shape = inputShape({image, channels, ...own});
  return tf.layers.depthwiseConv2d({...own, name: 'depthwise', inputShape: shape, ...args});
}

/** An adapted DepthwiseConv2D with random weights and factors. */
function adapted(c: Case): LoRADepthwiseConv2D {
  const layer = new LoRADepthwiseConv2D({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: inputShape(c)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `W + s·A·B` for its kernel, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  const kernel = mergedKernel(layer);
  return base(c, {
    weights: [tf.tensor4d(kernel, [...c.kernelSize, c.channels, c.depthMultiplier]), ...(bias ? [bias] : [])],
  });
}

function images(c: Case): tf.Tensor {
  return random([2, ...inputShape(c)], 9);
}

/** A small model with two such layers. */
function mobile(): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.depthwiseConv2d({kernelSize: 3, depthMultiplier: 2, name: 'first', inputShape: [6, 5, 3]}),
      layers.reLU({maxValue: 6, name: 'relu'}),
      layers.depthwiseConv2d({kernelSize: 2, strides: 2, padding: 'same', activation: 'tanh', name: 'second'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 6, 5, 3], 3)]};
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  testConvolution(backend, {
    make: args => new LoRADepthwiseConv2D(args),
    cases,
    example: EXAMPLE,
    shapes: [
      {channels: 1, depthMultiplier: 3},
      {channels: 5, depthMultiplier: 2, kernelSize: [2, 2]},
    ],
    base,
    rankOf,
    adapted,
    mergedByHand,
    inputs: images,
    kernels: ['depthwise_kernel'],
  });

  test('the factors are [kh, kw, rank] and [rank, in, mult], and delta has the shape of the kernel', () => {
    const layer = adapted(EXAMPLE);
    expect([layer.loraLayer.A.shape, layer.loraLayer.B.shape]).toEqual([
      [3, 2, 2],
      [2, 3, 2],
    ]);
    expect(layer.loraLayer.weight).toBe('depthwise_kernel');
    const delta = layer.loraLayer.delta();
    expect(delta.shape).toEqual([3, 2, 3, 2]);
    const merged = tf.tensor4d(mergedKernel(layer), [3, 2, 3, 2]);
    expect(numbers(delta)).toBeAllClose(numbers(tf.sub(merged, layer.tryGetParameter('depthwise_kernel')!)));
  });

  test.each([
    ['swish', [2, 1], 'valid', 'channelsLast'],
    ['relu', [1, 1], 'same', 'channelsLast'],
    ['softmax', [1, 2], 'same', 'channelsLast'],
    ['swish', [2, 2], 'same', 'channelsFirst'],
    ['relu', [1, 1], 'valid', 'channelsFirst'],
  ] as const)(
    'gradients with %s, strides %j, padding %s and %s are those of tfjs',
    async (activation, strides, padding, dataFormat) => {
      const c: Case = {...EXAMPLE, activation, strides: [...strides], padding, dataFormat};
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const [w, bias] = ['depthwise_kernel', 'bias'].map(name => layer.tryGetParameter(name)!) as [
          tf.Tensor4D,
          tf.Tensor1D,
        ];
        const {A, B} = layer.loraLayer;
        const act = (z: tf.Tensor) => tf.layers.activation({activation}).apply(z) as tf.Tensor;
        return tf.grads((x: tf.Tensor, kernel: tf.Tensor, b: tf.Tensor, fa: tf.Tensor, fb: tf.Tensor) => {
          const product = tf.reshape(tf.matMul(tf.reshape(fa, [6, 2]), tf.reshape(fb, [2, 6])), w.shape);
          const updated = tf.add<tf.Tensor4D>(kernel, tf.mul(product, layer.scaling));
          const isFirst = c.dataFormat === 'channelsFirst';
          const last = (isFirst ? tf.transpose(x, [0, 2, 3, 1]) : x) as tf.Tensor4D;
          const z = tf.add(tf.depthwiseConv2d(last, updated, c.strides, c.padding), b);
          const y = act(isFirst ? tf.transpose(z, [0, 3, 1, 2]) : z);
          return tf.mul(y, random(y.shape as [number, number], 8));
        })([images(c), ...[w, bias, A, B].map(value => tf.clone(value))]);
      });
      const actual = await on(backend, () => {
        const layer = adapted(c);
        const x = images(c);
        const names = ['depthwise_kernel', 'bias', 'lora_A', 'lora_B'];
        const variables = names.map(name => layer.tryGetParameter(name) as tf.Variable);
        const f = (input: tf.Tensor) => {
          const y = layer.apply(input) as tf.Tensor;
          return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as [number, number], 8)));
        };
        const {grads} = tf.variableGrads(() => f(x), variables.slice(2));
        variables.forEach(variable => (variable.trainable = true));
        const {grads: ofBase} = tf.variableGrads(() => f(x), variables.slice(0, 2));
        const all = {...grads, ...ofBase};
        return [tf.grad(f)(x), ...variables.map(({name}) => all[name]!)];
      });
      expectGradients(actual, expected);
    },
  );

  test('like the stock layer it computes without its dilation rate', () => {
    const layer = adapted({...EXAMPLE, dilationRate: [2, 2]});
    const undilated = adapted(EXAMPLE);
    const x = images(EXAMPLE);
    expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(numbers(undilated.apply(x) as tf.Tensor));
    expect(layer.computeOutputShape([2, 6, 5, 3])).toEqual([2, 6, 5, 6]);
  });

  testInAModel('LoRADepthwiseConv2D', mobile, 1, ['DepthwiseConv2D', 'head']);
});

describe('whatever the backend', () => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => {
    tf.engine().endScope();
    jest.restoreAllMocks();
  });

  test.each([
    ['its name', ['first']],
    ['its class', ['DepthwiseConv2D']],
    ['a pattern', [/^fi/]],
  ])('%s in the targets adapts it', (_, targets) => {
    const lora = applyLoRA(mobile().model, {targets, rank: 2});
    expect(lora.getLayer('first')).toBeInstanceOf(LoRADepthwiseConv2D);
  });

  test("'all' leaves it out, and says so", () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const {model} = mobile();
    const lora = applyLoRA(model, {targets: 'all', rank: 2});
    expect(warn.mock.calls).toEqual([
      [
        expect.stringMatching(
          /^Left as they are:\nLayer "first" is a DepthwiseConv2D, .*\nLayer "second" is a .*targets/,
        ),
      ],
    ]);
    expect(lora.getLayer('first')).not.toBeInstanceOf(LoRADepthwiseConv2D);
    const {left} = summarizeLoRA(lora);
    expect(left.map(({path, className}) => [path, className])).toEqual([
      ['first', 'DepthwiseConv2D'],
      ['second', 'DepthwiseConv2D'],
    ]);
    expect(left[0]!.reason).toMatch(/^is a DepthwiseConv2D, whose kernel .* Name it in targets/);
  });

  test('a regularizer, which tfjs writes where the constraint belongs, does no harm; a constraint comes along', () => {
    const depthwiseRegularizer = tf.regularizers.l2({l2: 0.1});
    const depthwiseConstraint = tf.constraints.maxNorm({maxValue: 2, axis: 0});
    for (const own of [{depthwiseRegularizer}, {depthwiseRegularizer, depthwiseConstraint}]) {
      const model = tf.sequential({layers: [base(EXAMPLE, own)]});
      const x = images(EXAMPLE);
      const expected = predictions(model, [x]);
      const lora = applyLoRA(model, {targets: ['depthwise'], rank: 2});
      expect(predictions(lora, [x])).toEqual(expected);
      const merged = mergeLoRA(lora);
      expect(predictions(merged, [x])).toEqual(expected);
      type Fields = {depthwiseConstraint: tf.serialization.Serializable | null};
      const configOf = (one: tf.LayersModel) =>
        (one.getLayer('depthwise') as unknown as Fields).depthwiseConstraint?.getConfig();
      expect(configOf(removeLoRA(lora))).toEqual(configOf(model));
      expect(configOf(merged)).toBeUndefined();
    }
  });

  test('3×3, 256 channels, at rank 4 trains 1,060 numbers instead of 2,304', async () => {
    const layer = new LoRADepthwiseConv2D({layer: tf.layers.depthwiseConv2d({kernelSize: 3, useBias: false}), rank: 4});
    layer.build([null, 8, 8, 256]);
    const {trainableParameters, totalParameters} = await layer.getDiagnostics();
    expect([trainableParameters, totalParameters]).toEqual(['1060', String(1060 + 2304)]);
  });

  test('comes back from its config as it was', () => {
    const layer = new LoRADepthwiseConv2D({layer: base(EXAMPLE), rank: 3, alpha: 5, seed: 9});
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = LoRADepthwiseConv2D.fromConfig<LoRADepthwiseConv2D>(LoRADepthwiseConv2D, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: inputShape(EXAMPLE)})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new LoRADepthwiseConv2D({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      'Layer "other" is a Dense; LoRADepthwiseConv2D adapts layers of class DepthwiseConv2D.',
    );
    const layer = new LoRADepthwiseConv2D({layer: base(EXAMPLE), rank: 7});
    expect(() => layer.build([null, 6, 5, 3])).toThrow(/Layer "depthwise" has a kernel .*above 6 .*got 7/);
  });
});
