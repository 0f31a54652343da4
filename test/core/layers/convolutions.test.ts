import * as tf from '@tensorflow/tfjs';
import {LoRAConv1D} from '../../../src/core/layers/loraConv1d';
import {LoRAConv2D} from '../../../src/core/layers/loraConv2d';
import {LoRAConv2DTranspose} from '../../../src/core/layers/loraConv2dTranspose';
import {LoRAConv3D} from '../../../src/core/layers/loraConv3d';
import {LoRAError} from '../../../src/platform/errors';
import {numbers} from '../../helpers';
import {
  type Case,
  type ConvolutionKind,
  makersOf,
  product,
  smallModel,
  stridesOrDilation,
  testConvolution,
} from './convolutionKind';

const {conv1d, conv2d, conv2dTranspose, conv3d} = tf.layers;

const CONV_1D: ConvolutionKind = {
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

const CONV_2D: ConvolutionKind = {
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

const CONV_3D: ConvolutionKind = {
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

const TRANSPOSED: ConvolutionKind = {
  className: 'LoRAConv2DTranspose',
  loraClass: LoRAConv2DTranspose,
  stock: conv2dTranspose,
  example: {
    size: [3, 4],
    channels: 5,
    filters: 3,
    kernelSize: [3, 2],
    strides: [2, 1],
    padding: 'same',
    dataFormat: 'channelsLast',
    activation: 'tanh',
    useBias: true,
  },
  ranges: {size: [1, 4], channels: [1, 5], filters: [1, 4], kernelSize: [1, 3], strides: [1, 3]},
  shapes: [
    {channels: 2, filters: 7},
    {channels: 6, filters: 1},
  ],
  matrixOf: ({kernelSize, channels, filters}) => [product(kernelSize) * filters, channels],
  factors: {names: '[kh, kw, out, rank] and [rank, in]', A: [3, 2, 3, 2], B: [2, 5], kernel: [3, 2, 3, 5]},
  convolve: (x, [kernel], {size, filters, kernelSize, strides, padding}) => {
    const [height, width] = size.map((length, i) => {
      const [k, stride] = [kernelSize[i]!, strides[i]!];
      return length * stride + (padding === 'valid' ? Math.max(k - stride, 0) : 0);
    }) as [number, number];
    const shape: tf.Tensor4D['shape'] = [2, height, width, filters];
    return tf.conv2dTranspose(x as tf.Tensor4D, kernel as tf.Tensor4D, shape, strides as [number, number], padding);
  },
  gradients: [{strides: [2, 3], padding: 'valid'}, {dataFormat: 'channelsFirst'}],
  saved: {dataFormat: 'channelsFirst'},
  model: () =>
    smallModel(
      conv2dTranspose({
        filters: 4,
        kernelSize: 3,
        strides: 2,
        activation: 'relu',
        name: 'first',
        inputShape: [3, 2, 5],
      }),
      conv2dTranspose({filters: 2, kernelSize: 2, padding: 'same', name: 'second'}),
    ),
};

[CONV_1D, CONV_2D, CONV_3D, TRANSPOSED].forEach(testConvolution);

test.each([
  [{padding: 'causal'}, /Layer "conv": tfjs does not compute padding "causal".*exclude the layer/],
  [{dataFormat: 'channelsFirst'}, /Layer "conv": tfjs forgets dataFormat "channelsFirst".*Permute/],
])('LoRAConv1D refuses %j', (args, message) => {
  const {base} = makersOf(CONV_1D);
  expect(() => new LoRAConv1D({layer: base(CONV_1D.example, args)})).toThrow(LoRAError);
  expect(() => new LoRAConv1D({layer: base(CONV_1D.example, args)})).toThrow(message);
});

test('the branch of a LoRAConv2D is a convolution to rank channels and one of size 1×1', () => {
  const {adapted, inputs} = makersOf(CONV_2D);
  const c: Case = {...CONV_2D.example, activation: 'linear', strides: [2, 1], padding: 'valid'};
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

test('the branch of a LoRAConv2DTranspose makes rank channels and convolves these, transposed', () => {
  const {adapted, inputs} = makersOf(TRANSPOSED);
  const c: Case = {...TRANSPOSED.example, activation: 'linear', useBias: false};
  const layer = adapted(c);
  const {A, B} = layer.loraLayer;
  const x = inputs(c) as tf.Tensor4D;
  const channels = tf.conv2d(x, tf.reshape<tf.Rank.R4>(tf.transpose(B), [1, 1, 5, 2]), 1, 'same');
  const low = tf.conv2dTranspose(channels, A as tf.Tensor4D, [2, 6, 4, 3], c.strides as [number, number], c.padding);
  const y = layer.apply(x) as tf.Tensor;
  layer.setParameter('lora_B', tf.zeros([2, 5]));
  const expected = tf.add(layer.apply(x) as tf.Tensor, tf.mul(low, layer.scaling));
  expect(numbers(y)).toBeAllClose(numbers(expected));
});

test('a LoRAConv2DTranspose starts A between ±1/√(kh·kw·out), and B at zero', () => {
  const {base} = makersOf(TRANSPOSED);
  const layer = new LoRAConv2DTranspose({layer: base({...TRANSPOSED.example, filters: 40, channels: 9}), seed: 5});
  layer.build([null, 3, 4, 9]);
  const a = numbers(layer.loraLayer.A).map(value => Math.abs(value) * Math.sqrt(3 * 2 * 40));
  expect(a).toHaveLength(3 * 2 * 40 * 8);
  expect(Math.max(...a)).toBeLessThanOrEqual(1 + 1e-6);
  expect(Math.max(...a)).toBeGreaterThan(0.99);
  expect(new Set(numbers(layer.loraLayer.B))).toEqual(new Set([0]));
});
