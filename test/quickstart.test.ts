import * as tf from '@tensorflow/tfjs';
import {accuracy} from '../examples/shared/network';
import {digitReader, rotatedDigits} from '../src/quickstart';

test('the digit reader reads nine of ten digits, and of turned ones no more than chance would', () => {
  const model = digitReader();
  const {images, labels} = rotatedDigits();
  expect(images.shape).toEqual([400, 14, 14, 1]);
  expect(Array.from(labels.argMax(1).dataSync().slice(0, 12))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
  const upright = tf.tidy(() => tf.transpose(tf.reverse(images, 2), [0, 2, 1, 3]));
  expect(accuracy(model, {images: upright, labels})).toBeGreaterThan(90);
  expect(accuracy(model, {images, labels})).toBeLessThan(15);
});

test('making and disposing of both leaves no tensor', () => {
  const before = tf.memory().numTensors;
  digitReader().dispose();
  Object.values(rotatedDigits()).forEach((tensor: tf.Tensor) => tensor.dispose());
  expect(tf.memory().numTensors).toBe(before);
});
