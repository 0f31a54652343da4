import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {depthwiseConv2d} from '../../../src/core/ops/depthwise';
import {BACKENDS, expectGradients, on, random} from '../../helpers';
import {spread} from './spread';

type Pair = [number, number];

interface Case {
  image: Pair;
  channels: number;
  multiplier: number;
  kernelSize: Pair;
  strides: Pair;
  dilations: Pair;
  padding: 'valid' | 'same';
  rank: number;
}

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

const cases = fc
  .record({
    image: pair(6, 8),
    channels: fc.integer({min: 1, max: 3}),
    multiplier: fc.integer({min: 1, max: 2}),
    kernelSize: pair(1, 3),
    strides: pair(1, 3),
    dilations: pair(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    rank: fc.integer({min: 1, max: 3}),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilations: Math.max(...c.strides) > 1 ? [1, 1] : c.dilations}));

const LINEAR = {fused: null, gradient: null, apply: (z: tf.Tensor) => z};

/** The input, the kernel and its factors. */
function tensorsOf({image, channels, multiplier, kernelSize, rank}: Case): tf.Tensor[] {
  return [
    random([2, ...image, channels], 1),
    random([...kernelSize, channels, multiplier], 2),
    random([...kernelSize, rank], 3),
    random([rank, channels, multiplier], 4),
  ];
}

/**
 * `x ∗ (W + s·A·B)` by tfjs's own operations, with a kernel that has zeros between its entries for one that is dilated.
 */
function plain({kernelSize: [kh, kw], strides, dilations, padding, rank}: Case) {
  return (x: tf.Tensor, w: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
    const product = tf.matMul(tf.reshape(a, [kh * kw, rank]), tf.reshape(b, [rank, -1]));
    const kernel = tf.add(w, tf.mul(tf.reshape(product, w.shape), 0.5));
    return tf.depthwiseConv2d(x as tf.Tensor4D, spread(kernel, dilations) as tf.Tensor4D, strides, padding);
  };
}

describe.each(BACKENDS)('on %s', backend => {
  test('gradients in the input, the kernel and its factors are those of tfjs, whatever the geometry', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const gradients = (f: (x: tf.Tensor, w: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => tf.Tensor) => () => {
          const weighted = (...inputs: [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) => {
            const y = f(...inputs);
            return tf.mul(y, random(y.shape as [number, number], 8));
          };
          return tf.grads(weighted)(tensorsOf(c));
        };
        const expected = await on('cpu', gradients(plain(c)));
        const {strides, padding, dilations} = c;
        const geometry = {strides, padding, dilations};
        const actual = await on(
          backend,
          gradients((x, kernel, a, b) =>
            depthwiseConv2d(x as tf.Tensor4D, {kernel, bias: null, factors: {a, b, scaling: 0.5}}, geometry, LINEAR),
          ),
        );
        expectGradients(actual, expected);
        const ofKernel = await on(backend, () => {
          const [x, w] = tensorsOf(c) as [tf.Tensor4D, tf.Tensor];
          const f = (input: tf.Tensor, kernel: tf.Tensor) => {
            const weights = {kernel, bias: null, factors: null, trains: true};
            const y = depthwiseConv2d(input as tf.Tensor4D, weights, geometry, LINEAR);
            return tf.mul(y, random(y.shape as [number, number], 8));
          };
          return tf.grads(f)([x, w]).slice(1);
        });
        expectGradients(ofKernel, expected.slice(1, 2));
      }),
      {numRuns: 40},
    ));
});
