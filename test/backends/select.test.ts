import * as tf from '@tensorflow/tfjs';
import {numbers} from '../helpers';
import {expectAgreement} from './agreement';

test('truth values are chosen without a byte beyond the result', () => {
  const condition = tf.tensor1d([1, 0, 1, 0, 0], 'bool');
  const chosen = tf.where(condition, tf.ones([5], 'bool'), tf.zeros([5], 'bool'));
  expect([chosen.dtype, numbers(chosen)]).toEqual(['bool', [1, 0, 1, 0, 0]]);
});

test('a causal mask, the band below the diagonal, can be made again and again', () => {
  // tfjs's own attention makes one at each call. The kernel of wasm wrote beyond it until the memory was out of
  // order.
  for (let length = 2; length < 40; length++) {
    tf.tidy(() => {
      const mask = numbers(tf.linalg.bandPart(tf.ones([1, length, length], 'bool'), -1, 0));
      const expected = Array.from({length: length ** 2}, (_, i) => Number(i % length <= Math.floor(i / length)));
      expect(mask).toEqual(expected);
    });
  }
});

test('a choice between two dtypes converts both, as on cpu', () =>
  expectAgreement(() => {
    const condition = tf.tensor1d([1, 0, 1, 0], 'bool');
    const numbers = tf.tensor1d([1.5, -2.5, 3.5, 4.5]);
    const truths = tf.tensor1d([1, 1, 0, 1], 'bool');
    const whole = tf.tensor1d([5, 6, 7, 8], 'int32');
    return [
      tf.where(condition, numbers, truths),
      tf.where(condition, truths, whole),
      tf.where(condition, whole, numbers),
    ];
  }));

test('a choice between one row and no row holds nothing of the memory', () =>
  expectAgreement(() => {
    tf.dispose(Array.from({length: 200}, (_, i) => tf.ones([i]))); // what the memory holds
    return [tf.where(tf.tensor1d([1], 'bool'), tf.ones([1, 6, 6]), tf.ones([0, 6, 6]))];
  }));
