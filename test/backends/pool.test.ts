import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {withoutOwnCode} from '../../src/backends/shared/tryOut';
import {numbers, useBackend} from '../helpers';
import {expectAgreement} from './agreement';

const side = fc.integer({min: 1, max: 3});
const cases = fc.record({
  n: fc.integer({min: 1, max: 2}),
  size: fc.tuple(fc.integer({min: 3, max: 6}), fc.integer({min: 3, max: 6}), fc.integer({min: 3, max: 6})),
  // Our module takes channels by four.
  channels: fc.constantFrom(1, 3, 4, 8),
  window: fc.tuple(side, side, side),
  strides: fc.tuple(side, side, side),
  pad: fc.constantFrom<('same' | 'valid')[]>('same', 'valid'),
  /** Everything negative, or everything zero. */
  shift: fc.constantFrom(0, -10),
  scale: fc.constantFrom(0, 1),
});

/** y, and dx for dy = y². */
function withGradient(op: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): tf.Tensor[] {
  return [op(x), tf.grad(z => tf.square(op(z)))(x)];
}

test('max pooling and its gradient agree with cpu, also of negative and of equal numbers', async () => {
  await fc.assert(
    fc.asyncProperty(cases, ({n, size: [, h, w], channels, window, strides, pad, shift, scale}) =>
      expectAgreement(() =>
        withGradient(
          x => tf.maxPool(x as tf.Tensor4D, [window[1], window[2]], [strides[1], strides[2]], pad),
          tf.add(tf.mul(tf.randomNormal([n, h, w, channels], 0, 1, 'float32', 1), scale), shift),
        ),
      ),
    ),
  );
});

test('max pooling in three dimensions and its gradient agree with cpu, also of negative numbers', async () => {
  await fc.assert(
    fc.asyncProperty(cases, ({n, size, channels, window, strides, pad, shift}) =>
      expectAgreement(() =>
        withGradient(
          // For windows higher than wide the cpu backend's own gradient is wrong.
          x => tf.maxPool3d(x as tf.Tensor5D, [window[0], window[1], window[1]], strides, pad),
          tf.add(tf.randomNormal([n, ...size, channels], 0, 1, 'float32', 1), shift),
        ),
      ),
    ),
  );
});

test.each([true, false])(
  'NaN and −∞ are no maximum where a window has another number, by our module: %p',
  async byModule => {
    await useBackend('wasm');
    const compute = () => {
      // Four channels alike: a window of NaN and numbers, one of −∞ alone, one of equal numbers.
      const pixels = [NaN, 1, -Infinity, -Infinity, 3, 3, 2, -5, -Infinity, -Infinity, 3, NaN];
      const x = tf.tile(tf.tensor4d(pixels, [1, 2, 6, 1]), [1, 1, 1, 4]);
      const dy = tf.tile(tf.tensor4d([10, 20, 30], [1, 1, 3, 1]), [1, 1, 1, 4]);
      const dx = tf.grad(z => tf.maxPool(z as tf.Tensor4D, 2, 2, 'valid'))(x, dy);
      expect(numbers(tf.slice(dx, [0, 0, 0, 3], [1, 2, 6, 1]))).toEqual([0, 0, 20, 0, 30, 0, 10, 0, 0, 0, 0, 0]);
    };
    if (byModule) {
      compute();
    } else {
      await withoutOwnCode(compute);
    }
  },
);

test('an average of −∞ stays −∞, and one of what is no number is NaN', async () => {
  await useBackend('wasm');
  const x = tf.tensor4d([1, -Infinity, NaN, 2, Infinity, -Infinity, 3, 5], [1, 1, 8, 1]);
  expect(Array.from(tf.avgPool(x, [1, 2], [1, 2], 'valid').dataSync())).toEqual([-Infinity, NaN, NaN, 4]);
});

test('the gradient of maxima reaches the windows that were rounded up', async () => {
  await useBackend('wasm');
  const x = tf.tensor4d([1, 5, 2, 3, 9], [1, 1, 5, 1]);
  const none = [0, 0] as [number, number];
  const pooled = (z: tf.Tensor) => tf.maxPool(z as tf.Tensor4D, [1, 2], [1, 2], [none, none, none, none], 'ceil');
  expect(numbers(tf.grad(pooled)(x, tf.tensor4d([1, 10, 100], [1, 1, 3, 1])))).toEqual([0, 1, 0, 10, 100]);
});

test('an empty pooling of whole numbers is refused on wasm as in plain tfjs', async () => {
  await useBackend('wasm');
  expect(() => tf.maxPool(tf.zeros<tf.Rank.R4>([1, 4, 1, 3], 'int32'), 3, 1, 'valid')).toThrow('float32');
});

test('the gradient of a 3-D max pooling goes to the maximum of each oblong window', () => {
  const x = tf.tensor5d([5, 1, 2, 6, 3, 4, 7, 8], [1, 1, 2, 4, 1]);
  const pool = (z: tf.Tensor) => tf.maxPool3d(z as tf.Tensor5D, [1, 1, 3], [1, 1, 1], 'valid');
  expect(numbers(pool(x))).toEqual([5, 6, 7, 8]); // rows 5 1 2 6 and 3 4 7 8, windows of three
  const dx = tf.grad(pool)(x, tf.tensor5d([1, 10, 100, 1000], [1, 1, 2, 2, 1]));
  expect(numbers(dx)).toEqual([1, 0, 0, 10, 0, 0, 100, 1000]);
});
