import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {type BatchNormWeights, frozenBatchNorm} from '../../../src/core/ops/batchNorm';
import {Prepared} from '../../../src/platform/tfjs/prepared';
import {BACKENDS, expectGradients, kernelsOf, numbers, on, random, useBackend} from '../../helpers';

interface Case {
  shape: number[];
  axis: number;
  scale: boolean;
  center: boolean;
}

const cases = fc
  .record({
    shape: fc.array(fc.integer({min: 1, max: 4}), {minLength: 2, maxLength: 4}),
    axis: fc.nat(),
    scale: fc.boolean(),
    center: fc.boolean(),
  })
  .map(({axis, shape, ...rest}): Case => ({...rest, shape, axis: 1 + (axis % (shape.length - 1))}));

function weightsOf({shape, axis, scale, center}: Case): BatchNormWeights {
  const size = [shape[axis]!] as [number];
  return {
    mean: random(size, 1),
    variance: tf.add(tf.square(random(size, 2)), 0.5),
    gamma: scale ? random(size, 3) : null,
    beta: center ? random(size, 4) : null,
    epsilon: 1e-3,
  };
}

/** γ·(x − μ)/√(σ² + ε) + β by plain arithmetic, and its gradient in x for a random upstream one. */
function expected(c: Case): tf.Tensor[] {
  const {mean, variance, gamma, beta, epsilon} = weightsOf(c);
  const along = (w: tf.Tensor) =>
    tf.reshape(
      w,
      c.shape.map((size, i) => (i === c.axis ? size : 1)),
    );
  return differentiate(c, x => {
    const normal = tf.div(tf.sub(x, along(mean)), tf.sqrt(tf.add(along(variance), epsilon)));
    const scaled = gamma === null ? normal : tf.mul(normal, along(gamma));
    return beta === null ? scaled : tf.add(scaled, along(beta));
  });
}

function differentiate({shape}: Case, f: (x: tf.Tensor) => tf.Tensor): tf.Tensor[] {
  const x: tf.Tensor = random(shape as [number, number], 5);
  return [f(x), tf.grad(f)(x, random(shape as [number, number], 6))];
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  test.each([
    ['exactly', true],
    ['as one product and one sum', false],
  ])('normalizes along any axis %s, with or without scale and center', (_, exact) =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const wanted = await on('cpu', () => expected(c));
        const compute = () => {
          const weights = weightsOf(c);
          const prepared = new Prepared();
          const results = differentiate(c, x => frozenBatchNorm(x, weights, {axis: c.axis, exact, prepared}));
          prepared.dispose();
          return results;
        };
        expectGradients(await on(backend, compute), wanted);
      }),
      {numRuns: 30},
    ),
  );

  test('the exact form is stock inference bit for bit', () => {
    const c = {shape: [3, 4, 2], axis: 2, scale: true, center: true};
    const x = random([3, 4, 2], 5);
    const w = weightsOf(c);
    const stock = tf.batchNorm(x, w.mean, w.variance, w.beta!, w.gamma!, w.epsilon);
    expect(numbers(frozenBatchNorm(x, w, {axis: 2, exact: true, prepared: new Prepared()}))).toEqual(numbers(stock));
  });

  test('no statistics of the batch are computed', async () => {
    const kernels = await kernelsOf(() =>
      tf.tidy(() => {
        const c = {shape: [3, 4], axis: 1, scale: true, center: true};
        const weights = weightsOf(c);
        const prepared = new Prepared();
        return tf.grad(x => frozenBatchNorm(x, weights, {axis: 1, exact: false, prepared}))(random([3, 4], 5));
      }),
    );
    const names = kernels.map(({name}) => name);
    expect(names).toContain('Rsqrt');
    expect(names.filter(name => /Mean|Sum|SquaredDifference/.test(name))).toEqual([]);
  });
});
