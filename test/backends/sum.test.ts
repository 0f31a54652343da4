import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {useBackend} from '../helpers';
import {expectAgreement} from './agreement';

test('unsortedSegmentSum agrees with cpu', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({min: 0, max: 5}), {minLength: 1, maxLength: 12}),
      fc.array(fc.integer({min: 1, max: 4}), {maxLength: 2}),
      fc.integer({min: 1, max: 5}),
      (ids, row, segments) =>
        expectAgreement(() => [
          tf.unsortedSegmentSum(
            tf.randomNormal([ids.length, ...row], 0, 1, 'float32', 1),
            tf.tensor1d(ids, 'int32'),
            segments,
          ),
        ]),
    ),
  );
});

test('the gradient of gather agrees with cpu', () =>
  expectAgreement(() => {
    const table = tf.randomNormal([7, 5], 0, 1, 'float32', 1);
    const indices = tf.tensor2d([3, 3, 0, 6], [2, 2], 'int32');
    return [tf.grad(x => tf.square(tf.gather(x, indices)))(table)];
  }));

test.each([
  [[4099, 3], [0]],
  [
    [17, 31, 9],
    [0, 1],
  ],
  [
    [17, 31, 9],
    [1, 0],
  ],
  [[17, 31, 9], [1]],
  [
    [17, 31, 9],
    [1, 2],
  ],
  [
    [17, 31, 9],
    [0, 1, 2],
  ],
  [[5, 2], [0]],
] as [number[], number[]][])('the sum of %p over axes %p agrees with cpu', (shape, axes) =>
  expectAgreement(() => {
    const x = tf.randomNormal(shape, 0, 1, 'float32', 1);
    return [tf.sum(x, axes), tf.sum(x, axes, true), tf.sum(tf.cast(x, 'int32'), axes)];
  }),
);

test('truth values are counted in their segments', async () => {
  await useBackend('wasm');
  const truths = tf.ones([600], 'bool');
  const counts = tf.unsortedSegmentSum(truths, tf.zeros([600], 'int32'), 2);
  expect(counts.dtype).toBe('int32');
  expect(Array.from(counts.dataSync())).toEqual([600, 0]);
});
