import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {outputActivation} from '../../../src/core/ops/activation';
import {conv1dOp, type Conv1DGeometry} from '../../../src/core/ops/conv1d';
import {linear} from '../../../src/core/ops/linear';
import {
  BACKENDS,
  deviationFor,
  differentiate,
  expectGradients,
  numbers,
  on,
  random,
  useBackend,
  withoutLeaks,
} from '../../helpers';

interface Case extends Conv1DGeometry {
  n: number;
  width: number;
  channels: number;
  filters: number;
  size: number;
  bias: boolean;
}

const cases = fc
  .record({
    n: fc.integer({min: 1, max: 3}),
    width: fc.integer({min: 5, max: 9}),
    channels: fc.integer({min: 1, max: 4}),
    filters: fc.integer({min: 1, max: 7}),
    size: fc.integer({min: 1, max: 3}),
    stride: fc.integer({min: 1, max: 3}),
    dilation: fc.integer({min: 1, max: 2}),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    bias: fc.boolean(),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilation: c.stride > 1 ? 1 : c.dilation}));

const RANK = 2;
const SCALING = 1.5;

function inputsOf({n, width, channels, filters, size, bias}: Case): Record<string, tf.Tensor> {
  return {
    x: random([n, width, channels], 1, deviationFor(size * channels)),
    kernel: random([size, channels, filters], 2),
    a: random([size, channels, RANK], 3),
    b: random([RANK, filters], 4),
    ...(bias && {bias: random([filters], 5)}),
  };
}

function actual(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const factors = {a: a!, b: b!, scaling: SCALING};
    const weights = {kernel: kernel!, bias: bias ?? null, separateBias: true, factors};
    return linear(conv1dOp(c), x!, weights, {...outputActivation('tanh')!, apply: tf.tanh});
  });
}

/** A kernel with zeros between its entries: tfjs has no gradient for dilations. */
function spread(kernel: tf.Tensor, rate: number): tf.Tensor3D {
  const [size = 1, channels = 1, filters = 1] = kernel.shape;
  const reach = (size - 1) * rate + 1;
  const places = Array.from({length: size * reach}, (_, i) => Number(i % reach === Math.floor(i / reach) * rate));
  const rows = tf.matMul(tf.tensor2d(places, [size, reach]), tf.reshape(kernel, [size, -1]), true);
  return tf.reshape(rows, [reach, channels, filters]);
}

/** By public ops of tfjs. */
function expected(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const product = tf.reshape(tf.matMul(tf.reshape(a!, [-1, RANK]), b!), kernel!.shape);
    const w = spread(tf.add(kernel!, tf.mul(product, SCALING)), c.dilation);
    const z = tf.conv1d(x as tf.Tensor3D, w, c.stride, c.padding);
    return tf.tanh(bias === undefined ? z : tf.add(z, bias));
  });
}

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(async () => {
    await useBackend(backend);
  });

  test('an updated convolution and its gradients are those of tfjs, whatever its geometry', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const wanted = await on('cpu', () => expected(c));
        await useBackend(backend);
        await withoutLeaks(async () => expectGradients(await on(backend, () => actual(c)), wanted));
      }),
      {numRuns: 40},
    ));

  test('a frozen convolution passes on the gradient of tfjs', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const gradient = (f: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor) => () => {
          const {x, kernel} = inputsOf(c);
          return [tf.grad(input => tf.square(tf.tanh(f(input, kernel!))))(x!)];
        };
        const wanted = await on(
          'cpu',
          gradient((x, kernel) => tf.conv1d(x as tf.Tensor3D, spread(kernel, c.dilation), c.stride, c.padding)),
        );
        const frozen = gradient((x, kernel) =>
          linear(
            conv1dOp(c),
            x,
            {kernel, bias: null, separateBias: true, factors: null},
            {fused: null, gradient: null, apply: z => z},
          ),
        );
        expectGradients(await on(backend, frozen), wanted);
      }),
      {numRuns: 20},
    ));

  test('is the convolution of tfjs, bit for bit', async () => {
    await useBackend(backend);
    fc.assert(
      fc.property(cases, c => {
        tf.tidy(() => {
          const {x, kernel} = inputsOf(c);
          const stock = tf.conv1d(x as tf.Tensor3D, kernel as tf.Tensor3D, c.stride, c.padding, 'NWC', c.dilation);
          const y = conv1dOp(c).forward(x!, kernel!, null, 'linear');
          expect(y.shape).toEqual(stock.shape);
          expect(numbers(y)).toEqual(numbers(stock));
        });
      }),
      {numRuns: 40},
    );
  });
});
