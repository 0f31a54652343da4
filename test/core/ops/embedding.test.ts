import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {embeddingOp} from '../../../src/core/ops/embedding';
import {BACKENDS, numbers, random, useBackend} from '../../helpers';

/** A table, the rows that are looked up in it, and a gradient for each. */
const lookUps = fc
  .record({vocabulary: fc.integer({min: 1, max: 6}), dim: fc.integer({min: 1, max: 4})})
  .chain(({vocabulary, dim}) =>
    fc.record({
      vocabulary: fc.constant(vocabulary),
      dim: fc.constant(dim),
      rows: fc.array(fc.integer({min: 0, max: vocabulary - 1}), {minLength: 1, maxLength: 9}),
    }),
  );

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test('looks rows up, and sums what each look-up of a row gives', () => {
    fc.assert(
      fc.property(lookUps, ({vocabulary, dim, rows}) => {
        const x = tf.tensor2d(rows, [rows.length, 1], 'int32');
        const table = random([vocabulary, dim], 1);
        const dy = random([rows.length, dim], 2);
        const [values, gradients] = [numbers(table), numbers(dy)];
        const looked = rows.flatMap(row => values.slice(row * dim, (row + 1) * dim));
        const sums = new Array<number>(vocabulary * dim).fill(0);
        gradients.forEach((gradient, i) => {
          sums[rows[Math.floor(i / dim)]! * dim + (i % dim)]! += gradient;
        });
        expect(numbers(embeddingOp.forward(x, table, null, 'linear'))).toEqual(looked);
        expect(numbers(embeddingOp.kernelGradient(x, dy, [vocabulary, dim]))).toBeAllClose(sums);
      }),
    );
  });
});
