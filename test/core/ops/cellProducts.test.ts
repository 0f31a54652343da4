import * as tf from '@tensorflow/tfjs';
import {adaptedProducts, frozenProducts, masked} from '../../../src/core/ops/cellProducts';
import {BACKENDS, expectGradients, numbers, on, random, useBackend, withoutLeaks} from '../../helpers';

const SCALING = 1.5;
const WIDTHS = [4, 2];

/** Two inputs, a kernel and its factors. */
function tensors(): tf.Tensor[] {
  return [random([2, 3], 1), random([2, 3], 2), random([3, 6], 3), random([3, 2], 4), random([2, 6], 5)];
}

/** A number that depends on both products of both inputs. */
function loss(product: (x: tf.Tensor, part: number) => tf.Tensor, xs: tf.Tensor[]): tf.Tensor {
  const products = xs.flatMap(x => WIDTHS.map((_, part) => product(x, part)));
  return tf.addN(products.map((y, i) => tf.sum(tf.mul(tf.square(y), i + 1))));
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  test('steps with parts of an updated kernel have the gradients of tfjs, in all that they depend on', async () => {
    const adapted = (one: tf.Tensor, other: tf.Tensor, kernel: tf.Tensor, a: tf.Tensor, b: tf.Tensor) =>
      loss(adaptedProducts(kernel, {a, b, scaling: SCALING}, WIDTHS), [one, other]);
    const plain = (one: tf.Tensor, other: tf.Tensor, kernel: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
      const parts = tf.split(tf.add(kernel, tf.mul(tf.matMul(a, b), SCALING)), WIDTHS, 1);
      return loss((x, part) => tf.matMul(x, parts[part]!), [one, other]);
    };
    const expected = await on('cpu', () => [plain(...(tensors() as Five)), ...tf.grads(plain)(tensors())]);
    const actual = await on(backend, () => [adapted(...(tensors() as Five)), ...tf.grads(adapted)(tensors())]);
    expectGradients(actual, expected);
  });

  test('parts of a frozen kernel give the columns of the whole product', () => {
    const [x, , kernel] = tensors() as Five;
    const [whole, parts] = [frozenProducts(kernel), frozenProducts(kernel, WIDTHS)];
    const joined = tf.concat([parts(x, 0), parts(x, 1)], 1);
    expect(numbers(joined)).toBeAllClose(numbers(whole(x, 0)));
  });

  test('a mask applies to the input of the second product alone', () => {
    const [one, other] = [
      [[1], [10], [100]],
      [[2], [20], [200]],
    ].map(kernel => frozenProducts(tf.tensor2d(kernel)));
    const mask = tf.tensor2d([[0, 2, 0]]);
    const y = masked(one!, mask, other!)(tf.tensor2d([[3, 4, 5]]), 0);
    expect(numbers(y)).toEqual([3 + 40 + 500 + 2 * 4 * 20]);
  });

  test('the backward pass leaves nothing', async () => {
    await withoutLeaks(() => {
      tf.tidy(() => {
        const [one, other, kernel, a, b] = tensors() as Five;
        const f = (factor: tf.Tensor) =>
          loss(adaptedProducts(kernel, {a: factor, b, scaling: SCALING}, WIDTHS), [one, other]);
        tf.grad(f)(a);
      });
    });
  });
});

type Five = [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
