import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {type Activation, outputActivation} from '../../../src/core/ops/activation';
import {conv1dOp} from '../../../src/core/ops/conv1d';
import {conv2dTranspose} from '../../../src/core/ops/conv2dTranspose';
import {conv3dOp} from '../../../src/core/ops/conv3d';
import type {Factors, Linear} from '../../../src/core/ops/factors';
import {linear} from '../../../src/core/ops/linear';
import {
  BACKENDS,
  deviationFor,
  differentiate,
  expectGradients,
  kernelsOf,
  numbers,
  on,
  random,
  useBackend,
  withoutLeaks,
} from '../../helpers';
import {spread} from './spread';

// Convolutions of sequences and volumes, and transposed ones of images. `linear.test.ts` has those of images.

interface Weights {
  kernel: tf.Tensor;
  bias: tf.Tensor | null;
  factors: Factors | null;
}

interface Convolution {
  x: number[];
  /** `[...size, fan-in, out]`; transposed `[...size, filters, channels]`. */
  kernel: number[];
  channels: number;
  filters: number;
  /** The operation under test. */
  actual: (x: tf.Tensor, weights: Weights, activation: Activation) => tf.Tensor;
  /** The operation of tfjs. */
  stock: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor;
  /** The same with a gradient. */
  plain: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor;
}

const byOp =
  (op: Linear): Convolution['actual'] =>
  (x, weights, activation) =>
    linear(op, x, {...weights, separateBias: true}, activation);

type Triple = [number, number, number];

const lengths = (count: number, min: number, max: number) =>
  fc.array(fc.integer({min, max}), {minLength: count, maxLength: count});

/** What all geometries have. tfjs can only stride or dilate, not both. */
const geometries = (count: number, least: number, most: number) =>
  fc
    .record({
      n: fc.integer({min: 1, max: 3}),
      image: lengths(count, least, most),
      channels: fc.integer({min: 1, max: 4}),
      filters: fc.integer({min: 1, max: 7}),
      size: lengths(count, 1, 3),
      strides: lengths(count, 1, 3),
      rates: lengths(count, 1, 2),
      padding: fc.constantFrom('valid' as const, 'same' as const),
    })
    .map(({rates, ...geometry}) => ({
      ...geometry,
      dilations: Math.max(...geometry.strides) > 1 ? rates.map(() => 1) : rates,
      x: [geometry.n, ...geometry.image, geometry.channels],
      kernel: [...geometry.size, geometry.channels, geometry.filters],
    }));

const SEQUENCES = geometries(1, 5, 9).map(({strides, dilations, padding, ...shapes}): Convolution => {
  const [[stride = 1], [dilation = 1]] = [strides, dilations];
  const convolve = (x: tf.Tensor, kernel: tf.Tensor, rate: number) =>
    tf.conv1d(x as tf.Tensor3D, kernel as tf.Tensor3D, stride, padding, 'NWC', rate);
  return {
    ...shapes,
    actual: byOp(conv1dOp({strides: [stride], dilations: [dilation], padding})),
    stock: (x, kernel) => convolve(x, kernel, dilation),
    plain: (x, kernel) => convolve(x, spread(kernel, dilations), 1),
  };
});

const VOLUMES = geometries(3, 5, 6).map(({strides, dilations, padding, ...shapes}): Convolution => {
  const convolve = (x: tf.Tensor, kernel: tf.Tensor, rates: Triple) =>
    tf.conv3d(x as tf.Tensor5D, kernel as tf.Tensor5D, strides as Triple, padding, 'NDHWC', rates);
  return {
    ...shapes,
    actual: byOp(conv3dOp({strides: strides as Triple, dilations: dilations as Triple, padding})),
    stock: (x, kernel) => convolve(x, kernel, dilations as Triple),
    plain: (x, kernel) => convolve(x, spread(kernel, dilations), [1, 1, 1]),
  };
});

type Transposed = Pick<Convolution, 'x' | 'channels' | 'filters'> & {
  size: number[];
  strides: number[];
  padding: 'valid' | 'same';
};

function transposed({size, padding, filters, ...shapes}: Transposed): Convolution {
  const strides = shapes.strides as [number, number];
  /** With the output that layers of tfjs have. */
  const stock = (x: tf.Tensor, kernel: tf.Tensor) => {
    const layer = tf.layers.conv2dTranspose({filters, kernelSize: size, strides, padding});
    const shape = layer.computeOutputShape(x.shape) as tf.Tensor4D['shape'];
    return tf.conv2dTranspose(x as tf.Tensor4D, kernel as tf.Tensor4D, shape, strides, padding);
  };
  return {
    ...shapes,
    filters,
    kernel: [...size, filters, shapes.channels],
    actual: (x, weights, activation) =>
      conv2dTranspose(x as tf.Tensor4D, weights, {strides, padding, dilations: [1, 1]}, activation),
    stock,
    plain: stock,
  };
}

const TRANSPOSED = geometries(2, 1, 5).map(transposed);

const RANK = 2;
const SCALING = 1.5;
const LINEAR: Activation = {fused: null, gradient: null, apply: z => z};
const TANH: Activation = {...outputActivation('tanh')!, apply: tf.tanh};

function inputsOf({x, kernel, channels, filters}: Convolution, hasBias: boolean): Record<string, tf.Tensor> {
  const size = tf.util.sizeFromShape(kernel.slice(0, -2));
  return {
    x: random(x as [number], 1, deviationFor(size * channels)),
    kernel: random(kernel as [number], 2),
    a: random([...kernel.slice(0, -1), RANK], 3),
    b: random([RANK, kernel.at(-1)!], 4),
    ...(hasBias && {bias: random([filters], 5)}),
  };
}

/** The result and the gradients of an updated convolution. */
function actual(c: Convolution, hasBias: boolean): tf.Tensor[] {
  return differentiate(inputsOf(c, hasBias), ({x, kernel, a, b, bias}) => {
    const factors = {a: a!, b: b!, scaling: SCALING};
    return c.actual(x!, {kernel: kernel!, bias: bias ?? null, factors}, TANH);
  });
}

/** By public ops of tfjs. */
function expected(c: Convolution, hasBias: boolean): tf.Tensor[] {
  return differentiate(inputsOf(c, hasBias), ({x, kernel, a, b, bias}) => {
    const product = tf.reshape(tf.matMul(tf.reshape(a!, [-1, RANK]), b!), kernel!.shape);
    const z = c.plain(x!, tf.add(kernel!, tf.mul(product, SCALING)));
    return tf.tanh(bias === undefined ? z : tf.add(z, bias));
  });
}

const KINDS = Object.entries({'of sequences': SEQUENCES, 'of volumes': VOLUMES, transposed: TRANSPOSED});

describe.each(BACKENDS.flatMap(backend => KINDS.map(([kind, cases]) => [kind, backend, cases] as const)))(
  'a convolution %s, on %s',
  (_, backend, cases) => {
    beforeEach(() => useBackend(backend));

    test('that is updated has the values and gradients of tfjs, whatever its geometry', () =>
      fc.assert(
        fc.asyncProperty(cases, fc.boolean(), async (c, hasBias) => {
          const wanted = await on('cpu', () => expected(c, hasBias));
          await useBackend(backend);
          await withoutLeaks(async () => expectGradients(await on(backend, () => actual(c, hasBias)), wanted));
        }),
        {numRuns: 40},
      ));

    test('that is frozen passes on the gradient of tfjs, with an activation and without', () =>
      fc.assert(
        fc.asyncProperty(cases, fc.constantFrom(TANH, LINEAR), async (c, activation) => {
          const gradient = (f: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor) => () => {
            const {x, kernel} = inputsOf(c, false);
            return [tf.grad(input => tf.square(tf.tanh(f(input, kernel!))))(x!)];
          };
          const wanted = await on(
            'cpu',
            gradient((x, kernel) => activation.apply(c.plain(x, kernel))),
          );
          const frozen = gradient((x, kernel) => c.actual(x, {kernel, bias: null, factors: null}, activation));
          expectGradients(await on(backend, frozen), wanted);
        }),
        {numRuns: 30},
      ));

    test('that is frozen is that of tfjs, bit for bit, and so is one whose B is zero', () => {
      fc.assert(
        fc.property(cases, fc.constantFrom(TANH, LINEAR), (c, activation) => {
          tf.tidy(() => {
            const {x, kernel, bias, a, b} = inputsOf(c, true);
            const wanted = activation.apply(tf.add(c.stock(x!, kernel!), bias!));
            for (const factors of [null, {a: a!, b: tf.zerosLike(b!), scaling: SCALING}]) {
              const y = c.actual(x!, {kernel: kernel!, bias: bias!, factors}, activation);
              expect(y.shape).toEqual(wanted.shape);
              expect(numbers(y)).toEqual(numbers(wanted));
            }
          });
        }),
        {numRuns: 40},
      );
    });
  },
);

test.each(BACKENDS)('the operation of volumes has the bits of the activation after it, on %s', async backend => {
  await useBackend(backend);
  const op = conv3dOp({strides: [1, 2, 1], dilations: [1, 1, 1], padding: 'same'});
  tf.tidy(() => {
    const [x, kernel, bias] = [random([2, 4, 5, 4, 3], 1), random([2, 3, 2, 3, 5], 2), random([5], 3)] as const;
    const z = tf.add(tf.conv3d(x as tf.Tensor5D, kernel as tf.Tensor5D, [1, 2, 1], 'same'), bias);
    expect(numbers(op.forward(x, kernel, bias, 'linear'))).toEqual(numbers(z));
    expect(numbers(op.forward(x, kernel, bias, 'relu'))).toEqual(numbers(tf.relu(z)));
    expect(numbers(op.forward(x, kernel, bias, 'elu'))).toEqual(numbers(tf.elu(z)));
  });
});

test('the gradients of the factors alone take no gradient of the whole kernel', async () => {
  await useBackend('cpu');
  const c = transposed({x: [1, 4, 4, 5], channels: 5, filters: 3, size: [2, 3], strides: [2, 2], padding: 'same'});
  const {x, kernel, a, b} = inputsOf(c, false);
  const kernels = await kernelsOf(() =>
    tf.tidy(() =>
      tf.grads((fa: tf.Tensor, fb: tf.Tensor) => {
        const factors = {a: fa, b: fb, scaling: SCALING};
        return c.actual(x!, {kernel: kernel!, bias: null, factors}, TANH);
      })([a!, b!]),
    ),
  );
  tf.dispose([x!, kernel!, a!, b!]);
  const filters = kernels.filter(({name}) => name === 'Conv2DBackpropFilter');
  expect(filters.map(({output}) => output)).toEqual(['2×3×3×2']);
});
