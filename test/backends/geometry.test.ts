import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {type Margin, withMargins} from '../../src/backends/shared/geometry';
import {numbers, useBackend} from '../helpers';

beforeAll(() => useBackend('cpu'));

/** How many axes the inputs of pads have while `f` runs. */
async function paddedRanks(f: () => tf.Tensor): Promise<number[]> {
  const {kernels} = await tf.profile(f);
  return kernels.filter(({name}) => name === 'PadV2').map(({inputShapes}) => inputShapes[0]!.length);
}

test('withMargins gives what tf.pad gives, and pads four axes at most where the last gets no zeros', async () => {
  const margin = fc.tuple(fc.integer({min: 0, max: 2}), fc.integer({min: 0, max: 2}));
  const axes = fc.array(fc.record({size: fc.integer({min: 1, max: 3}), margin}), {minLength: 1, maxLength: 4});
  await fc.assert(
    fc.asyncProperty(axes, fc.integer({min: 1, max: 3}), async (front, channels) => {
      const shape = [...front.map(({size}) => size), channels];
      const margins: Margin[] = [...front.map(one => one.margin), [0, 0]];
      const x = tf.reshape(tf.range(1, tf.util.sizeFromShape(shape) + 1), shape);
      const [expected, actual] = [tf.pad(x, margins), withMargins(x, margins)];
      expect(actual.shape).toEqual(expected.shape);
      expect(numbers(actual)).toEqual(numbers(expected));
      const ranks = await paddedRanks(() => withMargins(x, margins));
      expect(Math.max(0, ...ranks)).toBeLessThanOrEqual(4);
      tf.dispose([x, expected, actual]);
    }),
  );
});
