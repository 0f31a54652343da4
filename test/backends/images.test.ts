import * as tf from '@tensorflow/tfjs';
import {numbers, random, useBackend} from '../helpers';
import {expectAgreement} from './agreement';

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

// Each output is one of the inputs, so the gradient for an upstream dy must have dy at that input. That place is read
// off the forward pass.

test.each<[size: number, shape: [number, number, number, number]]>([
  [2, [2, 3, 2, 4]],
  [2, [1, 2, 3, 12]],
  [3, [2, 2, 2, 18]],
])('the gradient of depthToSpace by %i brings each number of dy back to where it came from', (size, shape) => {
  const count = shape.reduce((product, length) => product * length, 1);
  const places = tf.depthToSpace(tf.reshape<tf.Rank.R4>(tf.range(0, count), shape), size, 'NHWC');
  const dy = random<tf.Rank.R4>(places.shape, 3);
  const expected = new Array<number>(count);
  const values = numbers(dy);
  numbers(places).forEach((place, i) => (expected[place] = values[i]!));
  const x = random<tf.Rank.R4>(shape, 4);
  const dx = tf.grad(z => tf.depthToSpace(z as tf.Tensor4D, size, 'NHWC'))(x, dy);
  expect(dx.shape).toEqual([...shape]);
  expect(numbers(dx)).toEqual(expected);
});

test('the gradient of depthToSpace with the channels first does so too', async () => {
  await useBackend('wasm'); // cpu knows channels last alone

  const shape: [number, number, number, number] = [2, 8, 3, 2];
  const order = tf.reshape<tf.Rank.R4>(tf.range(0, 96), shape);
  const places = numbers(tf.depthToSpace(order, 2, 'NCHW'));
  const dy = random<tf.Rank.R4>([2, 2, 6, 4], 3);
  const values = numbers(dy);
  const expected = new Array<number>(96);
  places.forEach((place, i) => (expected[place] = values[i]!));
  const dx = tf.grad(z => tf.depthToSpace(z as tf.Tensor4D, 2, 'NCHW'))(order, dy);
  expect(dx.shape).toEqual(shape);
  expect(numbers(dx)).toEqual(expected);
});

test.each<[size: number, shape: [number, number, number, number]]>([
  [2, [2, 3, 5, 8]],
  [3, [1, 4, 2, 18]],
  [4, [2, 1, 3, 16]],
])('depthToSpace by %i moves each number on wasm to where cpu moves it', (size, shape) =>
  expectAgreement(() => [tf.depthToSpace(random<tf.Rank.R4>(shape, 1), size)]),
);
