import * as tf from '@tensorflow/tfjs';
import {LoRAConv2DTranspose} from '../../../src/core/layers/loraConv2dTranspose';
import {numbers} from '../../helpers';
import {
  type Case,
  type ConvolutionKind,
  makersOf,
  product,
  smallModel,
  testConfig,
  testConvolution,
} from './convolutionKind';

const {conv2dTranspose} = tf.layers;

const KIND: ConvolutionKind = {
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
const {base, adapted, inputs} = makersOf(KIND);

testConvolution(KIND);

test('the branch makes rank channels and convolves these, transposed', () => {
  const c: Case = {...KIND.example, activation: 'linear', useBias: false};
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

testConfig(KIND);

test('starts A between ±1/√(kh·kw·out), and B at zero', () => {
  const layer = new LoRAConv2DTranspose({layer: base({...KIND.example, filters: 40, channels: 9}), seed: 5});
  layer.build([null, 3, 4, 9]);
  const a = numbers(layer.loraLayer.A).map(value => Math.abs(value) * Math.sqrt(3 * 2 * 40));
  expect(a).toHaveLength(3 * 2 * 40 * 8);
  expect(Math.max(...a)).toBeLessThanOrEqual(1 + 1e-6);
  expect(Math.max(...a)).toBeGreaterThan(0.99);
  expect(new Set(numbers(layer.loraLayer.B))).toEqual(new Set([0]));
});
