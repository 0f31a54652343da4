import * as tf from '@tensorflow/tfjs';
import {stockKernel} from '../../src/backends/shared/registration';

const x = () => tf.randomNormal([2, 9, 8, 16], 0, 1, 'float32', 1);
const convolution = {strides: [2, 1], pad: 'same', dilations: [1, 1], dataFormat: 'NHWC'};
const fused = {...convolution, activation: 'relu'};

test.each<[name: string, inputs: () => tf.NamedTensorMap, attrs: Record<string, unknown>]>([
  ['Conv2D', () => ({x: x(), filter: tf.randomNormal([3, 3, 16, 5])}), convolution],
  ['FusedConv2D', () => ({x: x(), filter: tf.randomNormal([3, 3, 16, 5]), bias: tf.randomNormal([5])}), fused],
  ['Conv2D', () => ({x: tf.randomNormal([2, 9, 8, 1]), filter: tf.randomNormal([5, 5, 1, 1])}), convolution],
  ['FusedConv2D', () => ({x: tf.randomNormal([2, 9, 8, 1]), filter: tf.randomNormal([2, 2, 1, 1])}), fused],
  [
    'Conv2DBackpropInput',
    () => ({dy: tf.randomNormal([2, 8, 17, 1]), filter: tf.randomNormal([3, 2, 1, 1])}),
    {...convolution, inputShape: [2, 16, 17, 1]},
  ],
  [
    'DepthwiseConv2dNative',
    () => ({x: x(), filter: tf.randomNormal([3, 3, 16, 1])}),
    {...convolution, strides: [1, 1]},
  ],
  [
    'BatchMatMul',
    () => ({a: tf.randomNormal([31, 67]), b: tf.randomNormal([67, 29])}),
    {transposeA: false, transposeB: false},
  ],
  [
    '_FusedMatMul',
    () => ({
      a: tf.randomNormal([1, 31, 67]),
      b: tf.randomNormal([1, 67, 29]),
      bias: tf.randomNormal([29]),
    }),
    {transposeA: false, transposeB: false, activation: 'relu'},
  ],
  ['Sum', () => ({x: tf.randomNormal([1003, 17])}), {axis: [0], keepDims: false}],
  ['Sum', () => ({x: x()}), {axis: [0, 1, 2], keepDims: true}],
  ['Transpose', () => ({x: tf.randomNormal([480, 33])}), {perm: [1, 0]}],
])('%s gives the numbers that the backend itself gives', (name, inputs, attrs) => {
  const call = {inputs: inputs(), attrs: attrs as tf.NamedAttrMap, backend: tf.backend()};
  const info = stockKernel(name, 'wasm')!.kernelFunc(call) as tf.TensorInfo;
  const expected = tf.engine().makeTensorFromTensorInfo(info);
  const actual = tf.engine().runKernel<tf.Tensor>(name, call.inputs, call.attrs);
  expect(actual.shape).toEqual(expected.shape);
  expect(actual.dataSync()).toEqual(expected.dataSync());
});

test.each(
  [1, 2, 3].flatMap(rows =>
    [1, 4, 7, 8, 36].flatMap(inner => [1, 4, 10, 36].map(columns => [rows, inner, columns] as const)),
  ),
)('a product of few rows has the numbers of the backend: %i × %i × %i', (rows, inner, columns) => {
  for (const [bias, activation] of [
    [undefined, 'linear'],
    [tf.randomNormal([columns]), 'linear'],
    [tf.randomNormal([columns]), 'relu6'],
  ] as const) {
    tf.tidy(() => {
      const inputs = {
        a: tf.randomNormal([1, rows, inner], 0, 3),
        b: tf.randomNormal([1, inner, columns], 0, 3),
        ...(bias && {bias}),
      };
      const attrs = {transposeA: false, transposeB: false, activation};
      const call = {inputs, attrs, backend: tf.backend()};
      const expected = tf
        .engine()
        .makeTensorFromTensorInfo(stockKernel('_FusedMatMul', 'wasm')!.kernelFunc(call) as tf.TensorInfo);
      const actual = tf.engine().runKernel<tf.Tensor>('_FusedMatMul', inputs, attrs);
      expect(actual.dataSync()).toEqual(expected.dataSync());
    });
  }
});
