import * as tf from '@tensorflow/tfjs';
import {addAll} from '../../../src/core/ops/addAll';
import {BACKENDS, numbers, useBackend} from '../../helpers';

/** 1, 2, 4, …: the sum of the first `count` of them tells which of them it has. */
function powers(count: number): tf.Tensor1D[] {
  return Array.from({length: count}, (_, i) => tf.tensor1d([2 ** i, -(2 ** i)]));
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
  });

  test('the sum has every term once, with no more than six at a time, in as few steps as that takes', async () => {
    for (const [count, steps] of [
      [1, 0],
      [2, 1],
      [5, 1],
      [6, 1],
      [7, 2],
      [11, 2],
      [12, 3],
      [16, 3],
      [17, 4],
    ] as const) {
      const terms = powers(count);
      const {kernels} = await tf.profile(() => addAll(terms));
      const sums = kernels.filter(({name}) => name === 'AddN');
      expect([count, sums.length]).toEqual([count, steps]);
      sums.forEach(({inputShapes}) => expect(inputShapes.length).toBeLessThanOrEqual(6));
      expect(numbers(addAll(terms))).toEqual([2 ** count - 1, 1 - 2 ** count]);
    }
  });
});
