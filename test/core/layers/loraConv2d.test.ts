import * as tf from '@tensorflow/tfjs';
import {LoRAConv2D} from '../../../src/core/layers/loraConv2d';
import {numbers} from '../../helpers';
import {
  type Case,
  type ConvolutionKind,
  makersOf,
  product,
  smallModel,
  stridesOrDilation,
  testConfig,
  testConvolution,
} from './convolutionKind';

const {conv2d} = tf.layers;

const KIND: ConvolutionKind = {
  className: 'LoRAConv2D',
  loraClass: LoRAConv2D,
  stock: conv2d,
  example: {
    size: [6, 5],
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
  },
  ranges: {size: [5, 7], channels: [1, 3], filters: [1, 5], kernelSize: [1, 3], strides: [1, 2], dilationRate: [1, 2]},
  possible: stridesOrDilation,
  shapes: [
    {channels: 1, filters: 7},
    {channels: 4, filters: 3},
  ],
  matrixOf: ({kernelSize, channels, filters}) => [product(kernelSize) * channels, filters],
  factors: {names: '[kh, kw, in, rank] and [rank, out]', A: [3, 2, 2, 3], B: [3, 5], kernel: [3, 2, 2, 5]},
  convolve: (x, [kernel], {strides, padding}) =>
    tf.conv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, strides as [number, number], padding),
  gradients: [
    {strides: [1, 1], dataFormat: 'channelsFirst'},
    {strides: [2, 1], dataFormat: 'channelsFirst'},
  ],
  dilations: [
    {dilationRate: [1, 2], padding: 'valid', size: [8, 8]},
    {dilationRate: [2, 2], padding: 'same', size: [8, 8]},
    {dilationRate: [3, 2], padding: 'same', size: [8, 8]},
  ],
  saved: {dataFormat: 'channelsFirst'},
  model: () =>
    smallModel(
      conv2d({filters: 5, kernelSize: 3, activation: 'relu', name: 'first', inputShape: [6, 5, 3]}),
      conv2d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
    ),
};
const {adapted, inputs} = makersOf(KIND);

testConvolution(KIND);

test('the branch is a convolution to rank channels and one of size 1×1', () => {
  const c: Case = {...KIND.example, activation: 'linear', strides: [2, 1], padding: 'valid'};
  const layer = adapted(c);
  const [a, b] = [layer.loraLayer.A, layer.loraLayer.B];
  expect([a.shape, b.shape]).toEqual([
    [3, 2, 2, 3],
    [3, 5],
  ]);
  const x = inputs(c) as tf.Tensor4D;
  const down = tf.conv2d(x, a as tf.Tensor4D, c.strides as [number, number], c.padding);
  const low = tf.conv2d(down, tf.reshape(b, [1, 1, 3, 5]), 1, 'same');
  const y = layer.apply(x) as tf.Tensor;
  layer.setParameter('lora_B', tf.zeros([3, 5]));
  const expected = tf.add(layer.apply(x) as tf.Tensor, tf.mul(low, layer.scaling));
  expect(numbers(y)).toBeAllClose(numbers(expected));
});

testConfig(KIND);
