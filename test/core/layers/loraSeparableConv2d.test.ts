import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {FrozenLayer} from '../../../src/core/layers/unadaptedLayer';
import {LoRASeparableConv2D} from '../../../src/core/layers/loraSeparableConv2d';
import {applyLoRA} from '../../../src/core/model/apply';
import {removeLoRA} from '../../../src/core/model/restore';
import {expectGradients, numbers, on, random} from '../../helpers';
import {predictions, reloaded, stir} from '../../models';
import {spread} from '../ops/spread';
import {
  type Case,
  type ConvolutionKind,
  makersOf,
  smallModel,
  stridesOrDilation,
  testConvolution,
} from './convolutionKind';

const {separableConv2d} = tf.layers;

const SEPARABLE_EXAMPLE: Case = {
  size: [6, 5],
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

const SEPARABLE: ConvolutionKind = {
  className: 'LoRASeparableConv2D',
  loraClass: LoRASeparableConv2D,
  stock: separableConv2d,
  kernels: ['depthwise_kernel', 'pointwise_kernel'],
  example: SEPARABLE_EXAMPLE,
  ranges: {size: [5, 7], channels: [1, 4], filters: [1, 5], kernelSize: [1, 3], strides: [1, 3], dilationRate: [1, 2]},
  // tfjs has no channels-first bias here.
  possible: c => ({...stridesOrDilation(c), useBias: c.useBias && c.dataFormat === 'channelsLast'}),
  shapes: [
    {channels: 3, filters: 7},
    {channels: 4, filters: 2},
  ],
  matrixOf: ({channels, filters}) => [channels, filters],
  factors: {names: '[1, 1, in, rank] and [rank, out]', A: [1, 1, 4, 2], B: [2, 5], kernel: [1, 1, 4, 5]},
  convolve: (x, kernels, {strides, padding}) => {
    const [depthwise, pointwise] = kernels as [tf.Tensor4D, tf.Tensor4D];
    return tf.separableConv2d(x as tf.Tensor4D, depthwise, pointwise, strides as [number, number], padding);
  },
  activatesChannelsLast: true,
  gradients: [
    {strides: [2, 1], padding: 'valid'},
    {strides: [1, 1], padding: 'same'},
    {strides: [1, 2], padding: 'same'},
    {strides: [1, 1], padding: 'valid', dataFormat: 'channelsFirst', useBias: false},
  ],
  dilations: [
    {dilationRate: [1, 2], padding: 'valid', size: [7, 7]},
    {dilationRate: [2, 2], padding: 'same', size: [7, 7]},
  ],
  dilatedBaseTrains: true,
  saved: {dilationRate: [2, 2]},
  model: () =>
    smallModel(
      separableConv2d({filters: 5, kernelSize: 3, activation: 'relu', name: 'first', inputShape: [7, 6, 3]}),
      separableConv2d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
    ),
};
const {base, adapted, inputs} = makersOf(SEPARABLE);

testConvolution(SEPARABLE);

test('gradients of a dilated one are those of a kernel with zeros between its entries', async () => {
  const c: Case = {
    ...SEPARABLE_EXAMPLE,
    dilationRate: [2, 3],
    kernelSize: [2, 2],
    activation: 'linear',
    useBias: false,
  };
  const expected = await on('cpu', () => {
    const layer = adapted(c);
    const [depthwise, pointwise, a, b] = ['depthwise_kernel', 'pointwise_kernel', 'lora_A', 'lora_B'].map(name =>
      layer.tryGetParameter(name)!,
    );
    const f = (x: tf.Tensor, kernel: tf.Tensor, fa: tf.Tensor, fb: tf.Tensor) => {
      const product = tf.reshape(tf.matMul(tf.reshape(fa, [4, 2]), fb), [1, 1, 4, 5]);
      const updated = tf.add<tf.Tensor4D>(pointwise!, tf.mul(product, layer.scaling));
      return tf.square(tf.separableConv2d(x as tf.Tensor4D, spread(kernel, [2, 3]) as tf.Tensor4D, updated, 1, 'same'));
    };
    return tf.grads(f)([inputs(c), ...[depthwise, a, b].map(value => tf.clone(value!))]);
  });
  const actual = await on('wasm', () => {
    const frozen = adapted(c);
    const layer = adapted(c, {freezeBaseLayer: false});
    frozen.getParameterNames().forEach(name => layer.setParameter(name, frozen.tryGetParameter(name)!));
    const variables = ['depthwise_kernel', 'lora_A', 'lora_B'].map(name => layer.tryGetParameter(name) as tf.Variable);
    const f = (x: tf.Tensor) => tf.sum<tf.Scalar>(tf.square(layer.apply(x) as tf.Tensor));
    const {grads} = tf.variableGrads(() => f(inputs(c)), variables);
    return [tf.grad(f)(inputs(c)), ...variables.map(({name}) => grads[name]!)];
  });
  expectGradients(actual, expected);
});

test.each([
  [{depthMultiplier: 2}, /Layer "conv": tfjs forgets depthMultiplier 2 .*DepthwiseConv2D and a Conv2D/],
  [
    {dataFormat: 'channelsFirst'},
    /Layer "conv": With dataFormat "channelsFirst", .* bias along the wrong axis.*Permute/,
  ],
])('refuses %j', (args, message) => {
  expect(() => new LoRASeparableConv2D({layer: base(SEPARABLE_EXAMPLE, args)})).toThrow(LoRAError);
  expect(() => new LoRASeparableConv2D({layer: base(SEPARABLE_EXAMPLE, args)})).toThrow(message);
});

test('one with a depth multiplier is frozen in an adapted model, and is saved and restored with it', async () => {
  const model = tf.sequential({
    layers: [
      base(SEPARABLE_EXAMPLE, {depthMultiplier: 2}),
      tf.layers.flatten({name: 'flat'}),
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  const x = inputs(SEPARABLE_EXAMPLE);
  const expected = predictions(model, [x]);
  const lora = applyLoRA(model, {targets: ['head'], rank: 1});
  expect(predictions(lora, [x])).toEqual(expected);
  expect(predictions(await reloaded(lora), [x])).toEqual(expected);
  expect(predictions(removeLoRA(lora), [x])).toEqual(expected);
});

test('tfjs does forget the one, and add the other along the wrong axis', () => {
  expect(base(SEPARABLE_EXAMPLE, {depthMultiplier: 2}).getConfig()).not.toHaveProperty('depthMultiplier');
  const x = random([2, 4, 6, 5], 9);
  expect(() => base({...SEPARABLE_EXAMPLE, dataFormat: 'channelsFirst'}).apply(x)).toThrow('could not be broadcast');
});

test('frozen, channels-first and with a bias it computes what the stock layer computes, wrong as that is', () => {
  const c: Case = {...SEPARABLE_EXAMPLE, size: [5, 6], dataFormat: 'channelsFirst'};
  const model = tf.sequential({layers: [base(c)]});
  stir(model);
  const x = inputs(c);
  const expected = model.predict(x) as tf.Tensor;
  const frozen = new FrozenLayer({layer: model.layers[0]!});
  expect(numbers(frozen.apply(x) as tf.Tensor)).toEqual(numbers(expected));
});
