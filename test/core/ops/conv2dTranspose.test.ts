import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {outputActivation} from '../../../src/core/ops/activation';
import {conv2dTranspose, type Conv2DTransposeGeometry} from '../../../src/core/ops/conv2dTranspose';
import {
  BACKENDS,
  differentiate,
  deviationFor,
  expectGradients,
  kernelsOf,
  numbers,
  on,
  random,
  useBackend,
  withoutLeaks,
} from '../../helpers';

type Pair = [number, number];

interface Case extends Conv2DTransposeGeometry {
  n: number;
  image: Pair;
  channels: number;
  filters: number;
  size: Pair;
  bias: boolean;
}

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

const cases = fc.record({
  n: fc.integer({min: 1, max: 3}),
  image: pair(1, 5),
  channels: fc.integer({min: 1, max: 6}),
  filters: fc.integer({min: 1, max: 4}),
  size: pair(1, 4),
  strides: pair(1, 3),
  padding: fc.constantFrom('valid' as const, 'same' as const),
  bias: fc.boolean(),
});

const RANK = 2;
const SCALING = 1.5;

function inputsOf({n, image, channels, filters, size, bias}: Case): Record<string, tf.Tensor> {
  return {
    x: random([n, ...image, channels], 1, deviationFor(tf.util.sizeFromShape(size) * channels)),
    kernel: random([...size, filters, channels], 2),
    a: random([...size, filters, RANK], 3),
    b: random([RANK, channels], 4),
    ...(bias && {bias: random([filters], 5)}),
  };
}

const TANH = {...outputActivation('tanh')!, apply: tf.tanh};

function actual(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const factors = {a: a!, b: b!, scaling: SCALING};
    return conv2dTranspose(x as tf.Tensor4D, {kernel: kernel!, bias: bias ?? null, factors}, c, TANH);
  });
}

/** By tfjs, with the output that its layers have. */
function stock(x: tf.Tensor, kernel: tf.Tensor, {strides, padding, filters}: Case): tf.Tensor {
  const layer = tf.layers.conv2dTranspose({filters, kernelSize: kernel.shape.slice(0, 2), strides, padding});
  const shape = layer.computeOutputShape(x.shape) as tf.Tensor4D['shape'];
  return tf.conv2dTranspose(x as tf.Tensor4D, kernel as tf.Tensor4D, shape, strides, padding);
}

/** By public ops of tfjs. */
function expected(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias}) => {
    const product = tf.reshape(tf.matMul(tf.reshape(a!, [-1, RANK]), b!), kernel!.shape);
    const z = stock(x!, tf.add(kernel!, tf.mul(product, SCALING)), c);
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

  test('a frozen one is that of tfjs, bit for bit, and so is one whose B is zero', async () => {
    await useBackend(backend);
    fc.assert(
      fc.property(cases, c => {
        tf.tidy(() => {
          const {x, kernel, bias, a, b} = inputsOf({...c, bias: true});
          const wanted = tf.tanh(tf.add(stock(x!, kernel!, c), bias!));
          for (const factors of [null, {a: a!, b: tf.zerosLike(b!), scaling: SCALING}]) {
            const y = conv2dTranspose(x as tf.Tensor4D, {kernel: kernel!, bias: bias!, factors}, c, TANH);
            expect(y.shape).toEqual(wanted.shape);
            expect(numbers(y)).toEqual(numbers(wanted));
          }
        });
      }),
      {numRuns: 40},
    );
  });

  test('a frozen one passes on the gradient of tfjs', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const gradient = (f: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor) => () => {
          const {x, kernel} = inputsOf(c);
          return [tf.grad(input => tf.square(f(input, kernel!)))(x!)];
        };
        const wanted = await on(
          'cpu',
          gradient((x, kernel) => tf.tanh(stock(x, kernel, c))),
        );
        const frozen = gradient((x, kernel) =>
          conv2dTranspose(x as tf.Tensor4D, {kernel, bias: null, factors: null}, c, TANH),
        );
        expectGradients(await on(backend, frozen), wanted);
      }),
      {numRuns: 20},
    ));
});

test('the gradients of the factors alone take no gradient of the whole kernel', async () => {
  await useBackend('cpu');
  const c: Case = {
    n: 1,
    image: [4, 4],
    channels: 5,
    filters: 3,
    size: [2, 3],
    strides: [2, 2],
    padding: 'same',
    bias: false,
  };
  const {x, kernel, a, b} = inputsOf(c);
  const kernels = await kernelsOf(() =>
    tf.tidy(() =>
      tf.grads((fa: tf.Tensor, fb: tf.Tensor) => {
        const factors = {a: fa, b: fb, scaling: SCALING};
        return conv2dTranspose(x as tf.Tensor4D, {kernel: kernel!, bias: null, factors}, c, TANH);
      })([a!, b!]),
    ),
  );
  tf.dispose([x!, kernel!, a!, b!]);
  const filters = kernels.filter(({name}) => name === 'Conv2DBackpropFilter');
  expect(filters.map(({output}) => output)).toEqual(['2×3×3×2']);
});
