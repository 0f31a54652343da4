import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {BACKENDS, expectGradients, numbers, on, random} from '../helpers';
import {expectAgreement} from './agreement';

type Triple = [number, number, number];

interface Case {
  n: number;
  volume: Triple;
  channels: number;
  filters: number;
  kernelSize: Triple;
  strides: Triple;
  pad: 'valid' | 'same';
}

function triple(max: number): fc.Arbitrary<Triple> {
  const size = fc.integer({min: 1, max});
  return fc.tuple(size, size, size);
}

const cases: fc.Arbitrary<Case> = fc.record({
  n: fc.integer({min: 1, max: 2}),
  volume: triple(4),
  channels: fc.integer({min: 1, max: 3}),
  filters: fc.integer({min: 1, max: 3}),
  kernelSize: triple(3),
  strides: triple(3),
  pad: fc.constantFrom('valid' as const, 'same' as const),
});

/** `x ∗ᵀ W` and what it is made of: `[n, …volume, channels]` becomes the largest volume whose convolution gives it. */
function transposed(c: Case): {
  x: tf.Tensor5D;
  kernel: tf.Tensor5D;
  op: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor;
} {
  const shape = c.volume.map((size, i) => {
    const [k, stride] = [c.kernelSize[i]!, c.strides[i]!];
    return size * stride + (c.pad === 'valid' ? Math.max(k - stride, 0) : 0);
  }) as Triple;
  return {
    x: random<tf.Rank.R5>([c.n, ...c.volume, c.channels], 1),
    kernel: random<tf.Rank.R5>([...c.kernelSize, c.filters, c.channels], 2),
    op: (x, kernel) =>
      tf.conv3dTranspose(x as tf.Tensor5D, kernel as tf.Tensor5D, [c.n, ...shape, c.filters], c.strides, c.pad),
  };
}

test('a transposed 3-D convolution gives on wasm what it gives on cpu, and so do its gradients', () =>
  fc.assert(
    fc.asyncProperty(cases, c =>
      expectAgreement(() => {
        const {x, kernel, op} = transposed(c);
        const y = op(x, kernel);
        return [y, ...tf.grads(op)([x, kernel], random(y.shape as unknown as Triple, 3))];
      }),
    ),
    {numRuns: 60},
  ));

test('a 3-D convolution has on wasm the gradients that it has on cpu', () =>
  fc.assert(
    fc.asyncProperty(
      cases.filter(c => c.pad === 'same' || c.volume.every((size, i) => size >= c.kernelSize[i]!)),
      c =>
        expectAgreement(() => {
          const x = random<tf.Rank.R5>([c.n, ...c.volume, c.channels], 1);
          const kernel = random<tf.Rank.R5>([...c.kernelSize, c.channels, c.filters], 2);
          const op = (...[input, filter]: tf.Tensor[]) =>
            tf.conv3d(input as tf.Tensor5D, filter as tf.Tensor5D, c.strides, c.pad);
          const y = op(x, kernel);
          return [y, ...tf.grads(op)([x, kernel], random(y.shape as unknown as Triple, 3))];
        }),
    ),
    {numRuns: 60},
  ));

test.each(BACKENDS)('the gradients of a transposed 3-D convolution are its slopes on %s', async backend => {
  const c: Case = {
    n: 1,
    volume: [2, 2, 3],
    channels: 2,
    filters: 3,
    kernelSize: [2, 3, 1],
    strides: [1, 2, 2],
    pad: 'valid',
  };
  // The result is linear in each of the two, so a step of 1 has no error but rounding.
  const expected = await on('cpu', () => {
    const {x, kernel, op} = transposed(c);
    const dy = random(op(x, kernel).shape as unknown as Triple, 3);
    const at = (one: tf.Tensor, other: tf.Tensor) => numbers(tf.sum(tf.mul(op(one, other), dy)))[0]!;
    const slopes = (value: tf.Tensor, f: (moved: tf.Tensor) => number) =>
      tf.tensor1d(
        numbers(value).map((_, i) => {
          const unit = tf.reshape(tf.oneHot(tf.scalar(i, 'int32'), value.size), value.shape);
          return (f(tf.add(value, unit)) - f(tf.sub(value, unit))) / 2;
        }),
      );
    return [slopes(x, moved => at(moved, kernel)), slopes(kernel, moved => at(x, moved))];
  });
  const actual = await on(backend, () => {
    const {x, kernel, op} = transposed(c);
    return tf.grads(op)([x, kernel], random(op(x, kernel).shape as unknown as Triple, 3));
  });
  expectGradients(actual, expected);
});

test.each(['same', 'valid'] as const)(
  "a transposed 3-D convolution into an output smaller than its padding '%s' gives agrees with cpu",
  pad =>
    expectAgreement(() => {
      const x = random<tf.Rank.R5>([1, 8, 7, 6, 3], 1);
      const filter = random<tf.Rank.R5>([2, 2, 2, 2, 3], 2);
      return [tf.conv3dTranspose(x, filter, [1, 4, 5, 3, 2], 1, pad)];
    }),
);

test('a kernel that does not fit into the input has gradients of zero, as on cpu', () =>
  expectAgreement(() => {
    const [x, kernel] = [tf.ones<tf.Rank.R5>([1, 2, 1, 1, 1]), tf.ones<tf.Rank.R5>([1, 3, 1, 1, 2])];
    return tf.grads((a: tf.Tensor, b: tf.Tensor) => tf.sum(tf.conv3d(a as tf.Tensor5D, b as tf.Tensor5D, 1, 'valid')))([
      x,
      kernel,
    ]);
  }));
