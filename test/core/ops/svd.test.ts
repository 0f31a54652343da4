import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {iteratedSVD, truncatedSVD, truncatedSVDNow} from '../../../src/core/ops/svd';
import {BACKENDS, numbers, random, useBackend, withoutLeaks} from '../../helpers';

/** `I − 2·x·xᵀ/‖x‖²`, an orthogonal matrix, row by row. */
function reflection(size: number, seed: number): number[][] {
  const x = Array.from({length: size}, (_, i) => Math.sin(seed + 3 * i) + 0.3);
  const square = x.reduce((sum, value) => sum + value * value, 0);
  return x.map((xi, i) => x.map((xj, j) => (i === j ? 1 : 0) - (2 * xi * xj) / square));
}

/** A matrix `[m, n]` with the given singular values. */
function matrixWith(values: readonly number[], m: number, n: number): number[][] {
  const [u, v] = [reflection(m, 1), reflection(n, 2)];
  return u.map(row =>
    Array.from({length: n}, (_, j) => values.reduce((sum, value, k) => sum + row[k]! * value * v[j]![k]!, 0)),
  );
}

function frobenius(values: readonly number[]): number {
  return Math.hypot(...values);
}

/** `U·diag(S)·Vᵀ`. */
function product({u, s, v}: {u: tf.Tensor2D; s: tf.Tensor1D; v: tf.Tensor2D}): number[] {
  return tf.tidy(() => numbers(tf.matMul(tf.mul(u, s), v, false, true)));
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
  });

  test.each([
    ['tall', 9, 5],
    ['wide', 4, 11],
    ['square', 6, 6],
  ])('finds the singular values of a %s matrix, and the best approximation', async (_, m, n) => {
    const values = [8, 5, 2, 0.5];
    const matrix = matrixWith(values, m, n);
    const svd = await truncatedSVD([tf.tensor2d(matrix)], 2);
    expect(numbers(svd.s)).toBeAllClose([8, 5]);
    expect(product(svd)).toBeAllClose(matrixWith([8, 5], m, n).flat());
    expect(numbers(tf.matMul(svd.u, svd.u, true))).toBeAllClose([1, 0, 0, 1]);
    expect(numbers(tf.matMul(svd.v, svd.v, true))).toBeAllClose([1, 0, 0, 1]);
  });

  test('finds many singular values of a large matrix, in a subspace wider than their number', async () => {
    const values = Array.from({length: 22}, (_, i) => 30 - i);
    const matrix = matrixWith(values, 68, 66);
    const svd = await truncatedSVD([tf.tensor2d(matrix)], 19);
    expect(numbers(svd.s)).toBeAllClose(values.slice(0, 19), {rtol: 1e-4});
    expect(product(svd)).toBeAllClose(matrixWith(values.slice(0, 19), 68, 66).flat(), {atol: 1e-3});
  });

  test('finds the same synchronously, and without reading anything', async () => {
    await withoutLeaks(() => {
      const matrix = tf.tensor2d(matrixWith([8, 5, 2, 0.5], 9, 7));
      for (const find of [truncatedSVDNow, iteratedSVD]) {
        const svd = find([matrix], 2);
        expect(numbers(svd.s)).toBeAllClose([8, 5]);
        expect(product(svd)).toBeAllClose(matrixWith([8, 5], 9, 7).flat());
        tf.dispose({...svd});
      }
      matrix.dispose();
    });
  });

  test('gives zeros for what a matrix of lower rank does not have', async () => {
    const svd = await truncatedSVD([tf.tensor2d(matrixWith([3], 5, 4))], 3);
    expect(numbers(svd.s)).toBeAllClose([3, 0, 0]);
    expect(product(svd)).toBeAllClose(matrixWith([3], 5, 4).flat());
    const zero = await truncatedSVD([tf.zeros([5, 4])], 2);
    expect(numbers(zero.s)).toEqual([0, 0]);
    expect(product(zero)).toEqual(new Array(20).fill(0));
  });

  test('finds those of a large matrix in a random subspace', async () => {
    const values = Array.from({length: 90}, (_, i) => 0.8 ** i);
    const matrix = matrixWith(values, 100, 90).flat();
    const svd = await truncatedSVD([tf.tensor2d(matrix, [100, 90])], 4);
    expect(numbers(svd.s)).toBeAllClose(values.slice(0, 4), {rtol: 1e-4});
    const best = frobenius(values.slice(4));
    const error = frobenius(product(svd).map((value, i) => value - matrix[i]!));
    expect(error).toBeLessThan(1.001 * best);
    expect(error).toBeGreaterThan(0.999 * best);
  });

  test('gives the same for the same seed, and leaks nothing', async () => {
    const chain = [random<tf.Rank.R2>([20, 3], 1), random<tf.Rank.R2>([3, 30], 2)];
    const once = await truncatedSVD(chain, 2);
    const twice = await truncatedSVD(chain, 2);
    expect(numbers(once.u)).toEqual(numbers(twice.u));
    await withoutLeaks(async () => tf.dispose({...(await truncatedSVD(chain, 2))}));
  });
});

test('of any product of factors it keeps all at full rank', async () => {
  await useBackend('cpu');
  const sizes = fc.integer({min: 1, max: 8});
  await fc.assert(
    fc.asyncProperty(sizes, sizes, sizes, fc.nat(1000), async (m, n, inner, seed) => {
      const chain = [random<tf.Rank.R2>([m, inner], seed), random<tf.Rank.R2>([inner, n], seed + 1)];
      const svd = await truncatedSVD(chain, Math.min(m, n, inner));
      const [a, b] = chain.map(tensor => tensor.arraySync()) as [number[][], number[][]];
      const expected = a.map(row => b[0]!.map((_, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)));
      expect(product(svd)).toBeAllClose(expected.flat(), {atol: 2e-5});
      const s = numbers(svd.s);
      expect([...s].sort((one, other) => other - one)).toEqual(s);
      tf.dispose([...chain, {...svd}]);
    }),
    {numRuns: 60},
  );
});
