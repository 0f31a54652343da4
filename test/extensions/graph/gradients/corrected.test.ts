import * as tf from '@tensorflow/tfjs';
import {expectAgreement} from '../../../backends/agreement';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import 'tfjs-lora/graph';

test.each([-2, 0])('sums and products so far take an axis counted from the end, %d', axis => {
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
  expect(numbers(tf.cumsum(x, axis))).toEqual([1, 2, 4, 6, 9, 12]);
  expect(numbers(tf.cumprod(x, axis))).toEqual([1, 2, 3, 8, 15, 48]);
});

test.each([2, 5])('sums and products so far take axis %d of two for the last, as tfjs does', axis => {
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
  expect(numbers(tf.cumsum(x, axis))).toEqual([1, 3, 3, 7, 5, 11]);
  expect(numbers(tf.cumprod(x, axis))).toEqual([1, 2, 3, 12, 5, 30]);
  expect(() => tf.cumsum(x, -3)).toThrow('axis -3');
});

test.each([-2, 0])('the gradient of sums so far runs backwards, along axis %d', axis => {
  const [x, dy] = [tf.zeros([3, 2]), tf.tensor2d([1, 10, 2, 20, 3, 30], [3, 2])];
  expect(numbers(tf.grad(z => tf.cumsum(z, axis))(x, dy))).toEqual([6, 60, 5, 50, 3, 30]);
});

test('the gradient of a product takes an axis counted from the end', () => {
  const x = tf.tensor2d([2, 3, 4, 5], [2, 2]);
  expect(numbers(tf.grad(z => tf.sum(tf.prod(z, -1)))(x))).toEqual([3, 2, 5, 4]);
});

test('the gradient of the one piece of an axis of one', () => {
  const x = tf.tensor2d([2, 3], [1, 2]);
  expect(numbers(tf.grad(z => tf.square(tf.unstack(z)[0]!))(x))).toEqual([4, 6]);
  expect(numbers(tf.grad(z => tf.square(tf.split(z, 1, 1)[0]!))(x))).toEqual([4, 6]);
});

test('the gradient of copies is their sum, at every rank', () => {
  const x = tf.tensor5d([1, 2, 3, 4], [1, 2, 1, 2, 1]);
  const dy = tf.range(0, 48).reshape([1, 2, 3, 4, 2]);
  // At each place [., h, ., w, .]: 4 numbers for w, each with the 2 of the last axis, in 3 rows of 8.
  const of = (h: number, w: number) => {
    const places = [0, 1, 2].flatMap(row => [0, 2].flatMap(copy => [0, 1].map(last => [row, copy + w, last])));
    return places.reduce((sum, [row, column, last]) => sum + h * 24 + row! * 8 + column! * 2 + last!, 0);
  };
  const gradient = tf.grad(z => tf.tile(z, [1, 1, 3, 2, 2]))(x, dy);
  expect(gradient.shape).toEqual(x.shape);
  expect(numbers(gradient)).toEqual([of(0, 0), of(0, 1), of(1, 0), of(1, 1)]);
  const repeated = (z: tf.Tensor) => tf.tile(z, [2, 3]);
  const weights = tf.tensor2d([1, 10, 2, 20, 3, 30, 100, 0, 0, 0, 0, 0], [2, 6]);
  expect(numbers(tf.grad(repeated)(tf.tensor2d([[0, 0]]), weights))).toEqual([106, 60]);
});

test('a slice that ends before it begins is empty, and its gradient zero', () => {
  const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
  const take = (z: tf.Tensor) => tf.stridedSlice(z, [2, 0], [0, 2], [1, 2]);
  expect(take(x).shape).toEqual([0, 1]);
  expect(numbers(tf.grad(z => tf.sum(take(z)))(x))).toEqual([0, 0, 0, 0, 0, 0]);
});

test.each(['float32', 'int32'] as const)('a slice with steps and an axis taken away is right in %s', dtype => {
  const x = tf.cast(tf.reshape(tf.range(0, 24), [2, 3, 4]), dtype);
  const middle = tf.stridedSlice(x, [0, 1, 0], [2, 2, 4], [1, 1, 2], 0, 0, 0, 0, 2); // x[:, 1, ::2]
  expect([middle.shape, middle.dtype, numbers(middle)]).toEqual([[2, 2], dtype, [4, 6, 16, 18]]);
  const backwards = tf.stridedSlice(x, [1, 0, 3], [2, 3, 0], [1, 2, -2], 0, 0, 0, 0, 1); // x[1, ::2, 3:0:-2]
  expect([backwards.shape, numbers(backwards)]).toEqual([
    [2, 2],
    [15, 13, 23, 21],
  ]);
});

test('the gradient of a resize with aligned corners comes back to an axis of one', () => {
  const x = tf.zeros<tf.Rank.R4>([1, 1, 2, 1]);
  const enlarge = (z: tf.Tensor4D) => tf.image.resizeNearestNeighbor(z, [3, 2], true);
  const dy = tf.tensor4d([1, 10, 2, 20, 3, 30], [1, 3, 2, 1]);
  expect(numbers(tf.grad(z => enlarge(z as tf.Tensor4D))(x, dy))).toEqual([6, 60]);
});

test('convolutions and averages of which nothing results are empty, and their gradients zero', () => {
  const kernel = tf.ones<tf.Rank.R4>([3, 3, 4, 1]);
  for (const x of [tf.ones<tf.Rank.R4>([1, 2, 5, 4]), tf.zeros<tf.Rank.R4>([0, 5, 5, 4])]) {
    for (const convolve of [tf.conv2d, tf.depthwiseConv2d]) {
      const {value, grads} = tf.valueAndGrads((a: tf.Tensor, w: tf.Tensor) =>
        tf.sum<tf.Scalar>(convolve(a as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid')),
      )([x, kernel]);
      expect([value, ...grads].every(tensor => numbers(tensor).every(number => number === 0))).toBe(true);
    }
    expect(tf.avgPool(x, 3, 1, 'valid').size).toBe(0);
    expect(tf.maxPool(x, 3, 1, 'valid').size).toBe(0);
  }
  expect(numbers(tf.cumsum(tf.ones([3]), 0))).toEqual([1, 2, 3]);
});

test('rows gathered of an empty tensor have the shape of rows', () => {
  expect(tf.gather(tf.zeros([5, 3, 0, 2]), tf.tensor1d([1, 2], 'int32'), 1).shape).toEqual([5, 2, 0, 2]);
});

test.each([true, false])('the places of maxima agree with cpu, batch in index: %p', includeBatch =>
  expectAgreement(() => {
    const x = tf.sub(tf.randomNormal<tf.Rank.R4>([2, 5, 6, 3], 0, 1, 'float32', 1), 5);
    const {result, indexes} = tf.maxPoolWithArgmax(x as tf.Tensor4D, 2, 2, 'same', includeBatch);
    return [result!, indexes!];
  }),
);

test('the places of maxima are refused for a tensor that is not of rank 4, as by tfjs', async () => {
  await useBackend('wasm');
  const x = tf.zeros([4, 4, 3]) as unknown as tf.Tensor4D;
  expect(() => tf.maxPoolWithArgmax(x, 2, 2, 'same')).toThrow(/rank 4/);
});

test('the places of maxima are refused for a window that is larger than the images', async () => {
  await useBackend('wasm');
  await withoutLeaks(() => {
    for (const batch of [0, 1]) {
      const x = tf.zeros<tf.Rank.R4>([batch, 1, 2, 1]);
      expect(() => tf.maxPoolWithArgmax(x, [4, 1], 1, 'valid')).toThrow(`[${batch},-2,2,1]`);
      x.dispose();
    }
  });
});
