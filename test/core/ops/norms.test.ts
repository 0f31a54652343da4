import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {FrozenLayer} from 'tfjs-lora';
import {type BatchNormWeights, frozenBatchNorm} from '../../../src/core/ops/batchNorm';
import {Prepared} from '../../../src/platform/tfjs/prepared';
import {BACKENDS, expectGradients, kernelsOf, numbers, on, random, useBackend} from '../../helpers';

/** A stock layer with weights that are not those it starts with. */
function stock(args: {scale?: boolean; center?: boolean; epsilon?: number}, width: number): tf.layers.Layer {
  const layer = tf.layers.layerNormalization({...args, name: 'norm'});
  layer.build([null, 3, width]);
  layer.setWeights(layer.getWeights().map(({shape}, i) => random(shape, 7 + i)));
  return layer;
}

describe.each(BACKENDS)('a frozen LayerNormalization on %s', backend => {
  beforeEach(() => useBackend(backend));

  test.each([
    ['with scale and shift', {}],
    ['without a scale', {scale: false}],
    ['without a shift', {center: false}],
    ['with neither, and a large epsilon', {scale: false, center: false, epsilon: 0.1}],
  ])('%s computes in training what the stock layer computes, and its gradient', (_what, args) => {
    const layer = stock(args, 5);
    const frozen = new FrozenLayer({layer});
    const [x, weights] = [random([2, 3, 5], 1), random([2, 3, 5], 2)];
    frozen.apply(x);
    // tfjs itself has no gradient without a scale or a shift, so plain operations stand for the layer.
    const {gamma, beta, epsilon} = layer as unknown as Record<'gamma' | 'beta', tf.LayerVariable | null> & {
      epsilon: number;
    };
    const plain = (input: tf.Tensor) => {
      const {mean, variance} = tf.moments(input, -1, true);
      const normalized = tf.div(tf.sub(input, mean), tf.sqrt(tf.add(variance, epsilon)));
      return tf.add(tf.mul(normalized, gamma?.read() ?? 1), beta?.read() ?? 0);
    };
    const ours = (input: tf.Tensor) => frozen.apply(input, {training: true}) as tf.Tensor;
    const gradientOf = (compute: (input: tf.Tensor) => tf.Tensor) =>
      numbers(tf.grad(input => tf.sum(tf.mul(compute(input), weights)))(x));
    const expected = [...numbers(layer.apply(x) as tf.Tensor), ...gradientOf(plain)];
    [...numbers(ours(x)), ...gradientOf(ours)].forEach((number, i) => expect(number).toBeCloseTo(expected[i]!, 5));
  });

  test('predicts what the stock layer predicts, bit for bit', () => {
    const layer = stock({}, 5);
    const frozen = new FrozenLayer({layer});
    const x = random([2, 3, 5], 3);
    expect(numbers(frozen.apply(x) as tf.Tensor)).toEqual(numbers(layer.apply(x) as tf.Tensor));
  });

  test('has a gradient of few launches, however long the rows are', async () => {
    const frozen = new FrozenLayer({layer: stock({}, 300)});
    const x = random([2, 3, 300], 4);
    frozen.apply(x);
    const gradient = tf.grad(input => tf.sum(frozen.apply(input, {training: true}) as tf.Tensor));
    const {kernels} = await tf.profile(() => gradient(x));
    expect(kernels.length).toBeLessThan(60); // 600 slices and sums in tfjs
  });
});

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
