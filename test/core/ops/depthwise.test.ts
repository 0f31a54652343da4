import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {depthwiseConv2d} from '../../../src/core/ops/depthwise';
import {BACKENDS, expectGradients, on, random} from '../../helpers';

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

/** The matrix that spreads an axis of `size` entries out, with `rate − 1` zeros between them. */
function spreading(size: number, rate: number): tf.Tensor2D {
  const reach = (size - 1) * rate + 1;
  return tf.tensor2d(
    Array.from({length: size}, (_, row) => Array.from({length: reach}, (__, column) => Number(column === row * rate))),
  );
}

/**
 * `x ∗ (W + s·A·B)` by tfjs's own operations, with a kernel that has zeros between its entries for one that is dilated.
 */
function plain({channels, multiplier, kernelSize: [kh, kw], strides, dilations, padding, rank}: Case) {
  return (x: tf.Tensor, w: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
    const columns = channels * multiplier;
    const product = tf.matMul(tf.reshape(a, [kh * kw, rank]), tf.reshape(b, [rank, columns]));
    const kernel = tf.add(tf.reshape(w, [kh * kw, columns]), tf.mul(product, 0.5));
    const high = tf.matMul(spreading(kh, dilations[0]), tf.reshape(kernel, [kh, kw * columns]), true);
    const reachH = high.shape[0];
    const wide = tf.transpose(tf.reshape(high, [reachH, kw, columns]), [1, 0, 2]);
    const both = tf.matMul(spreading(kw, dilations[1]), tf.reshape(wide, [kw, reachH * columns]), true);
    const reachW = both.shape[0];
    const inflated = tf.transpose(tf.reshape(both, [reachW, reachH, columns]), [1, 0, 2]);
    const filter = tf.reshape<tf.Rank.R4>(inflated, [reachH, reachW, channels, multiplier]);
    return tf.depthwiseConv2d(x as tf.Tensor4D, filter, strides, padding);
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
