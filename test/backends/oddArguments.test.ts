import * as tf from '@tensorflow/tfjs';
import {numbers, random, useBackend} from '../helpers';
import {expectAgreement} from './agreement';

// Arguments that tfjs takes, and that its wasm backend computes otherwise than cpu, or beyond its memory.

const images = (...shape: tf.Tensor4D['shape']) => random<tf.Rank.R4>(shape, 1);
const taps = (...shape: tf.Tensor4D['shape']) => random<tf.Rank.R4>(shape, 2);

/** tfjs counts the columns by the stride of the rows. */
const UNEQUAL: [number, number] = [1, 3];

test.each(['floor', 'round', 'ceil'] as const)(
  'windows are counted as on cpu if fractions are rounded by %s',
  rounding =>
    expectAgreement(() => [
      tf.conv2d(images(2, 7, 8, 3), taps(3, 2, 3, 5), 2, 1, 'NHWC', 1, rounding),
      tf.depthwiseConv2d(images(2, 7, 8, 3), taps(3, 2, 3, 1), 2, 1, 'NHWC', 1, rounding),
      tf.maxPool(images(2, 7, 8, 3), [3, 2], 2, 1, rounding),
      tf.avgPool(images(2, 7, 8, 3), [3, 2], 2, 1, rounding),
    ]),
);

test('windows are counted as on cpu if the pad is one number and strides differ', () =>
  expectAgreement(() => [
    tf.conv2d(images(2, 7, 8, 3), taps(3, 2, 3, 5), UNEQUAL, 1),
    tf.fused.conv2d({x: images(2, 7, 8, 3), filter: taps(3, 2, 3, 5), strides: UNEQUAL, pad: 1, activation: 'relu'}),
  ]));

test('images without rows and their gradients are all padding', () =>
  expectAgreement(() => {
    const convolved = (x: tf.Tensor, filter: tf.Tensor): tf.Tensor =>
      tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, [1, 3], [[0, 0], [1, 1], [1, 1], [0, 0]]); // prettier-ignore
    const [x, filter] = [tf.zeros([2, 0, 5, 3]), taps(2, 2, 3, 4)];
    return [convolved(x, filter), ...tf.grads(convolved)([x, filter])];
  }));

test('a window that is larger than the images is refused', async () => {
  await useBackend('wasm');
  expect(() => tf.maxPool(images(2, 1, 8, 2), [5, 3], 2, 'valid')).toThrow('[2,-1,3,2]');
  expect(() => tf.conv2d(images(2, 1, 8, 2), taps(5, 3, 2, 2), 2, 'valid')).toThrow('[2,-1,3,2]');
});

test('a fused bias of another length is refused, also with an empty batch', async () => {
  await useBackend('wasm');
  const fused = (x: tf.Tensor4D) =>
    tf.fused.conv2d({x, filter: taps(1, 1, 2, 3), strides: 1, pad: 'same', bias: tf.ones([1])});
  expect(() => fused(images(0, 2, 2, 2))).toThrow('bias');
  expect(() => fused(images(1, 2, 2, 2))).toThrow('bias');
});

test('the maxima of whole volumes are whole', async () => {
  await useBackend('wasm');
  const y = tf.maxPool3d(tf.tensor5d([-3, -7, -2, -9], [1, 1, 1, 4, 1], 'int32'), [1, 1, 2], [1, 1, 2], 'valid');
  expect([y.dtype, numbers(y)]).toEqual(['int32', [-3, -2]]);
});

test('a negative margin crops', async () => {
  await useBackend('wasm');
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]);
  expect(numbers(tf.pad(x, [[0, 0], [-1, 1]], 9))).toEqual([2, 3, 9, 5, 6, 9]); // prettier-ignore
  expect(numbers(tf.pad(tf.tensor1d([1, 2, 3], 'int32'), [[1, -2]]))).toEqual([0, 1]);
  expect(tf.pad(x, [[0, -3], [0, 0]]).shape[1]).toBe(3); // prettier-ignore
});

test('a depthwise convolution of channels-first images is refused, as other convolutions are', async () => {
  await useBackend('wasm');
  const convolved = () => tf.depthwiseConv2d(images(2, 3, 6, 5), taps(2, 2, 3, 1), 1, 'same', 'NCHW');
  expect(convolved).toThrow('does not support dataFormat');
});

test('a transposed convolution of another batch size is NaN where it has no images, and never more than asked', () => {
  const ofBatch = (batch: number) =>
    tf.conv2dTranspose(tf.tensor4d([2, 3], [2, 1, 1, 1]), tf.tensor4d([5], [1, 1, 1, 1]), [batch, 1, 1, 1], 1, 'same');
  expect(numbers(ofBatch(3))).toEqual([10, 15, NaN]);
  expect(numbers(ofBatch(1))).toEqual([10]);
  expect(ofBatch(0).shape).toEqual([0, 1, 1, 1]);
});

test('whole numbers are normalized, and stay whole', () => {
  // (x − 1) / √(3 + 1)
  const y = tf.batchNorm(tf.tensor2d([1, 7, 12], [3, 1], 'int32'), tf.tensor1d([1]), tf.tensor1d([3]), [0], [1], 1);
  expect([y.dtype, numbers(y)]).toEqual(['int32', [0, 3, 5]]);
});

test('angles and quotients of truth values are truth values', () => {
  const [a, b] = [tf.tensor1d([1, 1, 0, 0], 'bool'), tf.tensor1d([1, 0, 1, 0], 'bool')];
  // The angles are π/4, π/2, 0 and 0; 1/0 and 0/0 are 0 as bytes.
  expect(numbers(tf.atan2(a, b))).toEqual([0, 1, 0, 0]);
  expect(numbers(tf.floorDiv(a, b))).toEqual([1, 0, 0, 0]);
});

test('a prelu of nothing is nothing', () => {
  expect(tf.prelu(tf.zeros([3, 2, 0]), tf.zeros([0])).shape).toEqual([3, 2, 0]);
});

test('an empty tensor is transposed', () => {
  expect(tf.transpose(tf.zeros([0, 6, 16]), [0, 2, 1]).shape).toEqual([0, 16, 6]);
  expect(tf.transpose(tf.zeros([2, 0, 3]), [2, 0, 1]).shape).toEqual([3, 2, 0]);
});

test('what is scattered to an empty tensor goes nowhere', () => {
  const first = tf.tensor2d([[0]], [1, 1], 'int32');
  expect(tf.scatterND(first, tf.ones([1, 4]), [0, 4]).shape).toEqual([0, 4]);
  expect(tf.tensorScatterUpdate(tf.zeros([0]), first, tf.ones([1])).shape).toEqual([0]);
  expect(tf.sparseToDense(tf.tensor1d([0], 'int32'), tf.scalar(1), [0], tf.scalar(0)).shape).toEqual([0]);
});
