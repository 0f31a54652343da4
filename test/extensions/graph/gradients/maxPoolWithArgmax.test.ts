import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora/graph';
import {useBackend, withoutLeaks} from '../../../helpers';
import {expectAgreement} from '../../../backends/agreement';

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
