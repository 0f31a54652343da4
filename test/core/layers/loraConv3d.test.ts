import * as tf from '@tensorflow/tfjs';
import {LoRAConv3D} from '../../../src/core/layers/loraConv3d';
import {
  type ConvolutionKind,
  product,
  smallModel,
  stridesOrDilation,
  testConfig,
  testConvolution,
} from './convolutionKind';

const {conv3d} = tf.layers;

const KIND: ConvolutionKind = {
  className: 'LoRAConv3D',
  loraClass: LoRAConv3D,
  stock: conv3d,
  example: {
    size: [4, 5, 4],
    channels: 2,
    filters: 5,
    kernelSize: [2, 3, 2],
    strides: [1, 1, 1],
    dilationRate: [1, 1, 1],
    dataFormat: 'channelsLast',
    padding: 'same',
    activation: 'tanh',
    useBias: true,
  },
  ranges: {size: [5, 6], channels: [1, 3], filters: [1, 5], kernelSize: [1, 3], strides: [1, 3], dilationRate: [1, 2]},
  possible: stridesOrDilation,
  shapes: [
    {channels: 1, filters: 7},
    {channels: 3, filters: 4},
  ],
  matrixOf: ({kernelSize, channels, filters}) => [product(kernelSize) * channels, filters],
  factors: {
    names: '[kd, kh, kw, in, rank] and [rank, out]',
    A: [2, 3, 2, 2, 2],
    B: [2, 5],
    kernel: [2, 3, 2, 2, 5],
  },
  convolve: (x, [kernel], {strides, padding}) =>
    tf.conv3d(x as tf.Tensor5D, kernel as tf.Tensor5D, strides as [number, number, number], padding),
  gradients: [{strides: [2, 1, 2], padding: 'valid'}, {dataFormat: 'channelsFirst'}],
  dilations: [
    {dilationRate: [1, 2, 1], padding: 'valid'},
    {dilationRate: [2, 2, 3], padding: 'same'},
  ],
  saved: {dilationRate: [2, 1, 2]},
  model: () =>
    smallModel(
      conv3d({filters: 5, kernelSize: 2, activation: 'relu', name: 'first', inputShape: [4, 5, 4, 3]}),
      conv3d({filters: 4, kernelSize: 2, dilationRate: 2, padding: 'same', name: 'second'}),
    ),
};

testConvolution(KIND);
testConfig(KIND);
