import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import type {GateKind} from '../../../../src/extensions/transformers/kernels/transformer';
import {crossEntropyFromLogits} from '../../../../src/core/ops/crossEntropy';
import {gate} from '../../../../src/extensions/transformers/ops/gate';
import {normalizeRows} from '../../../../src/extensions/transformers/ops/normalizeRows';
import {rotate} from '../../../../src/extensions/transformers/ops/rotary';
import '../../../../src/transformers';
import {BACKENDS, random, useBackend, withoutLeaks} from '../../../helpers';

/** The result, and the gradients in the inputs for a random gradient of it. */
function withGradients(tensors: tf.Tensor[], compute: (...tensors: tf.Tensor[]) => tf.Tensor): number[][] {
  const y = compute(...tensors);
  const dy = random(y.shape, 9);
  const gradients = tf.grads((...xs: tf.Tensor[]) => tf.sum(tf.mul(compute(...xs), dy)))(tensors);
  return [y, ...gradients].map(tensor => [...tensor.dataSync()]);
}

/** Expects on a backend what `plain`, of operations of tfjs, gives on cpu. */
async function expectPlain(
  backend: string,
  make: () => tf.Tensor[],
  plain: (...tensors: tf.Tensor[]) => tf.Tensor,
  compute: (...tensors: tf.Tensor[]) => tf.Tensor,
): Promise<void> {
  await useBackend('cpu');
  const expected = tf.tidy(() => withGradients(make(), plain));
  await useBackend(backend);
  await withoutLeaks(() =>
    tf.tidy(() => {
      const actual = withGradients(make(), compute);
      actual.forEach((values, i) => expect(values).toBeAllClose(expected[i]!, {rtol: 2e-5, atol: 2e-5}));
    }),
  );
}

const PLAIN_GATES: Readonly<Record<GateKind, (x: tf.Tensor) => tf.Tensor>> = {
  gelu: x => tf.mul(tf.mul(0.5, x), tf.add(1, tf.erf(tf.div(x, Math.SQRT2)))),
  gelu_tanh: x =>
    tf.mul(
      tf.mul(0.5, x),
      tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3)))))),
    ),
  silu: x => tf.mul(x, tf.sigmoid(x)),
};
const KINDS = Object.keys(PLAIN_GATES) as GateKind[];

describe.each(BACKENDS)('on %s', backend => {
  describe.each(KINDS)('the gate %s', kind => {
    test.each([1, 4, 7, 30])('of %i numbers has the value and gradients of plain operations', async count => {
      const make = () => [random([count], 1, 2), random([count], 2)];
      await expectPlain(
        backend,
        make,
        (x, up) => tf.mul(PLAIN_GATES[kind](x), up),
        (x, up) => gate(x, up, kind),
      );
      await expectPlain(
        backend,
        () => make().slice(0, 1),
        x => PLAIN_GATES[kind](x),
        x => gate(x, null, kind),
      );
    });

    test('is exact far from zero, and lets what is no number through', async () => {
      await useBackend(backend);

      const y = gate(tf.tensor([-200, -30, 0, 30, 1000, NaN]), null, kind);
      expect([...y.dataSync()].map(value => value + 0)).toEqual([
        expect.closeTo(0, 6),
        expect.closeTo(0, 6),
        0,
        30,
        1000,
        NaN,
      ]);
    });
  });

  test.each([true, false])('rows are normalized as by plain operations (centered: %s)', async centered => {
    const sizes = fc.record({
      rows: fc.integer({min: 1, max: 5}),
      width: fc.integer({min: 1, max: 19}),
      sums: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(sizes, async ({rows, width, sums}) => {
        // A width of 1 has no deviation; epsilon is all that is left.
        const epsilon = 0.1;
        const make = () => [
          random([2, rows, width], 1),
          random([width], 2),
          ...(centered ? [random([width], 3)] : []),
          ...(sums ? [random([2, rows, width], 4)] : []),
        ];
        const parts = (tensors: tf.Tensor[]) => {
          const [x, gamma] = tensors as [tf.Tensor, tf.Tensor];
          return {x, gamma, beta: centered ? tensors[2]! : null, residual: sums ? tensors.at(-1)! : null};
        };
        await expectPlain(
          backend,
          make,
          (...tensors) => {
            const {x, gamma, beta, residual} = parts(tensors);
            const z = residual ? tf.add(x, residual) : x;
            const off = centered ? tf.sub(z, tf.mean(z, -1, true)) : z;
            const root = tf.sqrt(tf.add(tf.mean(tf.square(off), -1, true), epsilon));
            const y = tf.mul(tf.div(off, root), gamma);
            return beta ? tf.add(y, beta) : y;
          },
          (...tensors) => {
            const {x, gamma, beta, residual} = parts(tensors);
            return normalizeRows(x, residual, {gamma, beta}, {centered, epsilon});
          },
        );
      }),
      {numRuns: 20},
    );
  });

  test('the gradient of a sum that is also used without its normalization is added once', async () => {
    const make = () => [random([3, 5], 1), random([3, 5], 2)];
    const gamma = () => random([5], 3);
    const plain = (x: tf.Tensor, r: tf.Tensor) => {
      const z = tf.add(x, r);
      return tf.mul(tf.div(z, tf.sqrt(tf.add(tf.mean(tf.square(z), -1, true), 0.1))), gamma());
    };
    await expectPlain(
      backend,
      make,
      (x, r) => tf.add(tf.add(plain(x, r), tf.mul(x, r)), r),
      (x, r) =>
        tf.add(
          tf.add(normalizeRows(x, r, {gamma: gamma(), beta: null}, {centered: false, epsilon: 0.1}), tf.mul(x, r)),
          r,
        ),
    );
  });

  test.each([
    {size: 4, half: 2, interleaved: false},
    {size: 7, half: 2, interleaved: false},
    {size: 6, half: 3, interleaved: true},
    {size: 8, half: 3, interleaved: true},
  ])('pairs are rotated as complex numbers are: %j', async ({size, half, interleaved}) => {
    const heads = 2;
    const positions = 3;
    const angles = Array.from({length: positions * half}, (_, i) => 0.3 + i);
    await useBackend(backend);
    await withoutLeaks(() =>
      tf.tidy(() => {
        const x = random<tf.Rank.R3>([2, positions, heads * size], 1);
        const tables = () => ({
          cosines: tf.tensor2d(angles.map(Math.cos), [positions, half]),
          sines: tf.tensor2d(angles.map(Math.sin), [positions, half]),
        });
        const settings = {heads, interleaved};
        const expected = [...x.dataSync()];
        for (let row = 0; row < 2 * positions; row++) {
          for (let head = 0; head < heads; head++) {
            for (let j = 0; j < half; j++) {
              const begin = (row * heads + head) * size;
              const [one, two] = interleaved ? [begin + 2 * j, begin + 2 * j + 1] : [begin + j, begin + half + j];
              const angle = angles[(row % positions) * half + j]!;
              const [re, im] = [expected[one]!, expected[two]!];
              expected[one] = re * Math.cos(angle) - im * Math.sin(angle);
              expected[two] = re * Math.sin(angle) + im * Math.cos(angle);
            }
          }
        }
        expect([...rotate(x, tables, settings).dataSync()]).toBeAllClose(expected);
        // A rotation keeps lengths, so its gradient rotates back: the gradient of ½·|rotate(x)|² is x.
        const gradient = tf.grad(z => tf.mul(0.5, tf.sum(tf.square(rotate(z as tf.Tensor3D, tables, settings)))))(x);
        expect([...gradient.dataSync()]).toBeAllClose([...x.dataSync()]);
      }),
    );
  });

  describe('the cross-entropy from logits', () => {
    test('is that of one-hot targets, and has its gradient', async () => {
      const labels = [2, 0, 4, 4];
      await expectPlain(
        backend,
        () => [random([4, 5], 1, 3)],
        x => tf.mean(tf.neg(tf.sum(tf.mul(tf.logSoftmax(x as tf.Tensor2D), tf.oneHot(labels, 5)), -1))),
        x => crossEntropyFromLogits(tf.tensor1d(labels, 'int32'), x),
      );
    });

    test('leaves out what is ignored', async () => {
      await expectPlain(
        backend,
        () => [random([2, 2, 5], 1)],
        x => {
          const rows = tf.gather(tf.reshape(x, [4, 5]), [0, 3]);
          return tf.mean(tf.neg(tf.sum(tf.mul(tf.logSoftmax(rows as tf.Tensor2D), tf.oneHot([1, 2], 5)), -1)));
        },
        x => crossEntropyFromLogits(tf.tensor2d([1, -7, -7, 2], [2, 2]), x, {ignoreIndex: -7}),
      );
    });

    test('is zero where nothing counts', async () => {
      await useBackend(backend);

      const logits = random([2, 3], 1);
      expect(crossEntropyFromLogits(tf.tensor1d([-100, -100]), logits).dataSync()[0]).toBe(0);
      const gradient = tf.grad(x => crossEntropyFromLogits(tf.tensor1d([-100, -100]), x))(logits);
      expect([...gradient.dataSync()].map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0]);
    });

    test.each([[3], [-1], [0.5], [NaN]])('refuses %s as a target, with its position', async target => {
      await useBackend(backend);
      await withoutLeaks(() =>
        tf.tidy(() => {
          const [targets, logits] = [tf.tensor1d([-100, 0, target]), random([3, 3], 1)];
          const message = `Target 2 is ${target}. It must be a class index, an integer from 0 to 2, or -100`;
          expect(() => crossEntropyFromLogits(targets, logits)).toThrow(message);
        }),
      );
    });

    test('does not overflow', async () => {
      await useBackend(backend);

      const loss = crossEntropyFromLogits(tf.tensor1d([0]), tf.tensor2d([[1000, -1000]]));
      expect(loss.dataSync()[0]).toBeCloseTo(0, 5);
    });
  });
});

test('targets of another shape than the logits have are refused', () => {
  const logits = tf.zeros([2, 3, 5]);
  expect(() => crossEntropyFromLogits(tf.zeros([2]), logits)).toThrow(/expected shape \[2, 3\], got \[2\]/);
});
