import * as tf from '@tensorflow/tfjs';
import {Prepared} from '../../../src/platform/tfjs/prepared';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

describe('prepared tensors', () => {
  beforeAll(() => useBackend('cpu'));
  test('are made once, and again when a source has other data', async () => {
    await withoutLeaks(() => {
      const [one, other] = [1, 2].map(value => tf.tidy(() => tf.variable(tf.scalar(value))));
      const prepared = new Prepared();
      let made = 0;
      const sum = () => {
        const [tensor]: tf.Tensor[] = prepared.get([one!, other!], () => {
          made++;
          return [tf.add(one!, other!)];
        });
        return numbers(tensor!)[0];
      };
      expect([sum(), sum(), made]).toEqual([3, 3, 1]);
      tf.tidy(() => other!.assign(tf.scalar(5)));
      expect([sum(), sum(), made]).toEqual([6, 6, 2]);
      tf.tidy(() => one!.assign(tf.scalar(7)));
      expect([sum(), made]).toEqual([12, 3]);
      prepared.dispose();
      expect([sum(), made]).toEqual([12, 4]);
      prepared.dispose();
      prepared.dispose();
      tf.dispose([one!, other!]);
    });
  });

  test('outlive the tidy in which they are made, and what they are made of does not', async () => {
    const source = tf.variable(tf.scalar(3));
    const prepared = new Prepared();
    const square = (): tf.Tensor[] => prepared.get([source], () => [tf.square(tf.mul(source, 2))]);
    await withoutLeaks(() => {
      const [kept] = tf.tidy(square);
      expect(numbers(kept!)).toEqual([36]);
      expect(square()[0]).toBe(kept);
      prepared.dispose();
    });
  });
});
