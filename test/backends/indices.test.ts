import * as tf from '@tensorflow/tfjs';
import {numbers} from '../helpers';

const ints = (values: number[], shape?: number[]) => tf.tensor(values, shape ?? [values.length], 'int32');

test.each([
  ['float32', 1.5, 0.25],
  ['int32', 3, -2],
  ['bool', 1, 0],
] as const)('one-hot vectors of %s have their values, and rows outside have none', (dtype, on, off) => {
  const y = tf.oneHot(ints([0, 2, -1, 7]), 3, on, off, dtype);
  expect([y.dtype, y.shape]).toEqual([dtype, [4, 3]]);
  expect(numbers(y)).toEqual([on, off, off, off, off, on, off, off, off, off, off, off]);
});

test('whether a number is not 0 is its truth value', () => {
  const floats = tf.cast(tf.tensor1d([0.5, 256, NaN, 0, -0, -3, 1e-30]), 'bool');
  expect([floats.dtype, numbers(floats)]).toEqual(['bool', [1, 1, 1, 0, 0, 1, 1]]);
  expect(numbers(tf.cast(ints([0, 256, -256, 1]), 'bool'))).toEqual([0, 1, 1, 1]);
  expect(numbers(tf.logicalNot(tf.cast(ints([0, 256]), 'bool')))).toEqual([1, 0]);
});

test('positions outside of a tensor are refused', () => {
  const x = tf.tensor2d([0, 1, 2, 3, 4, 5], [2, 3]);
  for (const place of [ints([5, 1], [1, 2]), ints([-1, 1], [1, 2])]) {
    expect(() => tf.gatherND(x, place)).toThrow('does not index into 2,3');
    expect(() => tf.tensorScatterUpdate(x, place, tf.tensor1d([9]))).toThrow('does not index into 2,3');
    expect(() => tf.scatterND(place, tf.tensor1d([9]), [2, 3])).toThrow('does not index into 2,3');
  }
  expect(() => tf.sparseToDense(ints([4]), tf.tensor1d([9]), [4], 0)).toThrow('does not index into 4');
});

test('positions within a tensor are read and written', () => {
  const x = tf.tensor2d([0, 1, 2, 3, 4, 5], [2, 3]);
  const places = ints([1, 2, 0, 1], [2, 2]);
  expect(numbers(tf.gatherND(x, places))).toEqual([5, 1]);
  expect(numbers(tf.gatherND(x, ints([1], [1, 1])))).toEqual([3, 4, 5]);
  expect(numbers(tf.gatherND(x, ints([1, 0])))).toEqual([3]);
  expect(numbers(tf.tensorScatterUpdate(x, places, tf.tensor1d([8, 9])))).toEqual([0, 9, 2, 3, 4, 8]);
  expect(numbers(tf.scatterND(places, tf.tensor1d([8, 9]), [2, 3]))).toEqual([0, 9, 0, 0, 0, 8]);
  expect(numbers(tf.sparseToDense(ints([1, 3]), tf.tensor1d([8, 9]), [4], 0.5))).toEqual([0.5, 8, 0.5, 9]);
});

test('integers are divided exactly, and by 0 without a trap', () => {
  const large = ints([2 ** 31 - 1, 2 ** 30 + 1, -(2 ** 30) - 1]);
  expect(numbers(tf.floorDiv(large, ints([3])))).toEqual([715827882, 357913941, -357913942]);
  expect(numbers(tf.mod(large, ints([7])))).toEqual([1, 2, 5]);
  expect(numbers(tf.floorDiv(ints([-7, 7, -7, 7]), ints([2, 2, -2, -2])))).toEqual([-4, 3, 3, -4]);
  expect(numbers(tf.mod(ints([-7, 7, -7, 7]), ints([2, 2, -2, -2])))).toEqual([1, 1, -1, -1]);
  expect(numbers(tf.mod(ints([-7, 7, 5], [3, 1]), ints([2, 3])))).toEqual([1, 2, 1, 1, 1, 2]);
  expect(numbers(tf.floorDiv(ints([-7, 7]), ints([0])))).toEqual([0, 0]);
  expect(numbers(tf.mod(ints([-7, 7]), ints([0])))).toEqual([0, 0]);
});

test('slopes that do not fit are refused', () => {
  expect(() => tf.prelu(tf.ones([2, 3]), tf.ones([3, 3]))).toThrow(/broadcast/);
});
