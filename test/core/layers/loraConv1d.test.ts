import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {LoRAConv1D} from '../../../src/core/layers/loraConv1d';
import {
  type ConvolutionKind,
  makersOf,
  product,
  smallModel,
  stridesOrDilation,
  testConfig,
  testConvolution,
} from './convolutionKind';

const {conv1d} = tf.layers;

const KIND: ConvolutionKind = {
  className: 'LoRAConv1D',
  loraClass: LoRAConv1D,
  stock: conv1d,
  example: {
    size: [7],
    channels: 4,
    filters: 5,
    kernelSize: [3],
    strides: [1],
    dilationRate: [1],
    padding: 'same',
    activation: 'tanh',
    useBias: true,
  },
  ranges: {size: [5, 9], channels: [1, 4], filters: [1, 5], kernelSize: [1, 3], strides: [1, 3], dilationRate: [1, 2]},
  possible: stridesOrDilation,
  shapes: [
    {channels: 1, filters: 7, size: [8]},
    {channels: 4, filters: 3, size: [5]},
  ],
  matrixOf: ({kernelSize, channels, filters}) => [product(kernelSize) * channels, filters],
  factors: {names: '[k, in, rank] and [rank, out]', A: [3, 4, 2], B: [2, 5], kernel: [3, 4, 5]},
  convolve: (x, [kernel], {strides, padding}) =>
    tf.conv1d(x as tf.Tensor3D, kernel as tf.Tensor3D, strides[0]!, padding),
  gradients: [
    {strides: [2], padding: 'valid'},
    {strides: [1], padding: 'same'},
  ],
  dilations: [
    {dilationRate: [2], padding: 'valid', size: [10]},
    {dilationRate: [3], padding: 'same', size: [10]},
  ],
  saved: {dilationRate: [2]},
  model: () =>
    smallModel(
      conv1d({filters: 5, kernelSize: 3, activation: 'relu', name: 'first', inputShape: [12, 3]}),
      conv1d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
    ),
};
const {base} = makersOf(KIND);

testConvolution(KIND);

testConfig(KIND);

test.each([
  [{padding: 'causal'}, /Layer "conv": tfjs does not compute padding "causal".*exclude the layer/],
  [{dataFormat: 'channelsFirst'}, /Layer "conv": tfjs forgets dataFormat "channelsFirst".*Permute/],
])('refuses %j', (args, message) => {
  expect(() => new LoRAConv1D({layer: base(KIND.example, args)})).toThrow(LoRAError);
  expect(() => new LoRAConv1D({layer: base(KIND.example, args)})).toThrow(message);
});
