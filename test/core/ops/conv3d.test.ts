import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import type {Conv3DGeometry} from '../../../src/backends/shared/conv3dGradients';
import {outputActivation} from '../../../src/core/ops/activation';
import {conv3dOp} from '../../../src/core/ops/conv3d';
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

type Triple = [number, number, number];

interface Case extends Conv3DGeometry {
  n: number;
  volume: Triple;
  channels: number;
  filters: number;
  size: Triple;
  bias: boolean;
}

function triple(min: number, max: number): fc.Arbitrary<Triple> {
  const size = fc.integer({min, max});
  return fc.tuple(size, size, size);
}

const cases = fc
  .record({
    n: fc.integer({min: 1, max: 2}),
    volume: triple(5, 6),
    channels: fc.integer({min: 1, max: 3}),
    filters: fc.integer({min: 1, max: 5}),
    size: triple(1, 3),
    strides: triple(1, 3),
    dilations: triple(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    bias: fc.boolean(),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilations: Math.max(...c.strides) > 1 ? [1, 1, 1] : c.dilations}));

const RANK = 2;
const SCALING = 1.5;

function inputsOf({n, volume, channels, filters, size, bias}: Case): Record<string, tf.Tensor> {
  return {
    x: random([n, ...volume, channels], 1, deviationFor(tf.util.sizeFromShape(size) * channels)),
    kernel: random([...size, channels, filters], 2),
    a: random([...size, channels, RANK], 3),
    b: random([RANK, filters], 4),
    ...(bias && {bias: random([filters], 5)}),
  };
}

function actual(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const factors = {a: a!, b: b!, scaling: SCALING};
    const weights = {kernel: kernel!, bias: bias ?? null, separateBias: true, factors};
    return linear(conv3dOp(c), x!, weights, {...outputActivation('tanh')!, apply: tf.tanh});
  });
}

/** A kernel with zeros between its entries along one axis: tfjs has no gradient for dilations. */
function spread(kernel: tf.Tensor, axis: number, rate: number): tf.Tensor {
  const size = kernel.shape[axis]!;
  const reach = (size - 1) * rate + 1;
  const places = Array.from({length: size * reach}, (_, i) => Number(i % reach === Math.floor(i / reach) * rate));
  const order = [axis, ...kernel.shape.map((_, i) => i).filter(i => i !== axis)];
  const permuted = tf.transpose(kernel, order);
  const rows = tf.matMul(tf.tensor2d(places, [size, reach]), tf.reshape(permuted, [size, -1]), true);
  const inverse = order.map((_, i) => order.indexOf(i));
  return tf.transpose(tf.reshape(rows, [reach, ...permuted.shape.slice(1)]), inverse);
}

/** By public ops of tfjs. */
function expected(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const product = tf.reshape(tf.matMul(tf.reshape(a!, [-1, RANK]), b!), kernel!.shape);
    const updated = tf.add(kernel!, tf.mul(product, SCALING));
    const w = c.dilations.reduce((sum, rate, axis) => spread(sum, axis, rate), updated);
    const z = tf.conv3d(x as tf.Tensor5D, w as tf.Tensor5D, c.strides, c.padding);
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
          gradient((x, kernel) =>
            tf.conv3d(
              x as tf.Tensor5D,
              c.dilations.reduce((w, rate, axis) => spread(w, axis, rate), kernel) as tf.Tensor5D,
              c.strides,
              c.padding,
            ),
          ),
        );
        const frozen = gradient((x, kernel) =>
          linear(
            conv3dOp(c),
            x,
            {kernel, bias: null, separateBias: true, factors: null},
            {fused: null, gradient: null, apply: z => z},
          ),
        );
        expectGradients(await on(backend, frozen), wanted);
      }),
      {numRuns: 20},
    ));

  test('is the convolution of tfjs, bit for bit, with the bias and the activation after it', async () => {
    await useBackend(backend);
    fc.assert(
      fc.property(cases, fc.constantFrom('linear' as const, 'relu' as const, 'elu' as const), (c, activation) => {
        tf.tidy(() => {
          const {x, kernel, bias} = inputsOf({...c, bias: true}) as Record<string, tf.Tensor5D>;
          const stock = tf.conv3d(x!, kernel!, c.strides, c.padding, 'NDHWC', c.dilations);
          const act = {linear: (z: tf.Tensor) => z, relu: tf.relu, elu: tf.elu}[activation];
          const y = conv3dOp(c).forward(x!, kernel!, bias!, activation);
          expect(y.shape).toEqual(stock.shape);
          expect(numbers(y)).toEqual(numbers(act(tf.add(stock, bias!))));
        });
      }),
      {numRuns: 20},
    );
  });
});
