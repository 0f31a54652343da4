import * as tf from '@tensorflow/tfjs';
import {numbers, random} from '../helpers';

// A resize is linear: the gradient in a pixel is what an image of that pixel alone gives, times the gradient of the
// result.
const SHAPE: [number, number, number, number] = [2, 2, 3, 1];
const SIZES: [number, number][] = [
  [4, 6],
  [4, 9],
  [6, 6],
  [3, 5],
  [1, 2],
];

test.each(SIZES)('the gradients of resizes to %i×%i are right for two images that are not square', (...size) => {
  for (const resize of [tf.image.resizeNearestNeighbor, tf.image.resizeBilinear]) {
    for (const alignment of [[], [true], [false, true]]) {
      tf.tidy(() => {
        const f = (x: tf.Tensor) => resize(x as tf.Tensor4D, size, ...alignment);
        const dy = random([2, ...size, 1], 1);
        const pixels = tf.unstack(tf.reshape(tf.eye(12), [12, ...SHAPE]));
        const expected = pixels.map(pixel => numbers(tf.sum(tf.mul(f(pixel), dy)))[0]!);
        expect(numbers(tf.grad(f)(random(SHAPE, 2), dy))).toBeAllClose(expected);
      });
    }
  }
});

test('the gradients of one row whose corners are aligned are right', () => {
  const f = (x: tf.Tensor) => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [2, 4], true);
  const dy = tf.tensor4d([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 4, 1]);
  // Of four columns, the places in two are 0, 1/3, 2/3 and 1.
  expect(numbers(tf.grad(f)(tf.ones([1, 1, 2, 1]), dy))).toEqual([14, 22]);
});
