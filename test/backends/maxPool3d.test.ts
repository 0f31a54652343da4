import * as tf from '@tensorflow/tfjs';
import {numbers} from '../helpers';

test('the gradient of a 3-D max pooling goes to the maximum of each oblong window', () => {
  const x = tf.tensor5d([5, 1, 2, 6, 3, 4, 7, 8], [1, 1, 2, 4, 1]);
  const pool = (z: tf.Tensor) => tf.maxPool3d(z as tf.Tensor5D, [1, 1, 3], [1, 1, 1], 'valid');
  expect(numbers(pool(x))).toEqual([5, 6, 7, 8]); // rows 5 1 2 6 and 3 4 7 8, windows of three
  const dx = tf.grad(pool)(x, tf.tensor5d([1, 10, 100, 1000], [1, 1, 2, 2, 1]));
  expect(numbers(dx)).toEqual([1, 0, 0, 10, 0, 0, 100, 1000]);
});
