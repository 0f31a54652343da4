import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import type {Padding, Shape4D} from '../../src/backends/shared/geometry';
import {useBackend} from '../helpers';
import {expectAgreement} from './agreement';

interface Case {
  n: number;
  h: number;
  w: number;
  channels: number;
  out: number;
  kh: number;
  kw: number;
  strides: [number, number];
  pad: Padding;
}

type Operation = (x: tf.Tensor4D, kernel: tf.Tensor4D) => tf.Tensor4D;

/** y, dx and dK of a convolution with random numbers, the same on each backend. */
function gradients(op: Operation, xShape: Shape4D, kernelShape: Shape4D): () => tf.Tensor[] {
  return () => {
    const x = tf.randomNormal<tf.Rank.R4>(xShape, 0, 1, 'float32', 7);
    const kernel = tf.randomNormal<tf.Rank.R4>(kernelShape, 0, 1, 'float32', 8);
    const y = op(x, kernel);
    const dy = tf.randomNormal<tf.Rank.R4>(y.shape, 0, 1, 'float32', 9);
    const [dx, dKernel] = tf.grads(op as (...args: tf.Tensor[]) => tf.Tensor)([x, kernel], dy);
    return [y, dx!, dKernel!];
  };
}

const conv2d = ({n, h, w, channels, out, kh, kw, strides, pad}: Case) =>
  gradients((x, kernel) => tf.conv2d(x, kernel, strides, pad), [n, h, w, channels], [kh, kw, channels, out]);

const depthwise = ({n, h, w, channels, out, kh, kw, strides, pad}: Case) =>
  gradients((x, kernel) => tf.depthwiseConv2d(x, kernel, strides, pad), [n, h, w, channels], [kh, kw, channels, out]);

const side = fc.integer({min: 0, max: 3});
const padding = fc.oneof(
  fc.constant<Padding>('same'),
  fc.constant<Padding>('valid'),
  fc.integer({min: 0, max: 3}),
  fc.tuple(side, side, side, side).map(([t, b, l, r]): Padding => [
    [0, 0],
    [t, b],
    [l, r],
    [0, 0],
  ]),
);
const cases = fc
  .record({
    n: fc.integer({min: 1, max: 3}),
    h: fc.integer({min: 1, max: 9}),
    w: fc.integer({min: 1, max: 9}),
    channels: fc.integer({min: 1, max: 3}),
    out: fc.integer({min: 1, max: 3}),
    kh: fc.integer({min: 1, max: 5}),
    kw: fc.integer({min: 1, max: 5}),
    strides: fc.tuple(fc.integer({min: 1, max: 3}), fc.integer({min: 1, max: 3})),
    pad: padding,
  })
  .filter(({h, w, kh, kw, strides, pad}) => {
    // Given a number, tfjs computes the output's width from the height's kernel and stride.
    if (typeof pad === 'number' && (kh !== kw || strides[0] !== strides[1])) {
      return false;
    }
    const [top, bottom, left, right] =
      typeof pad === 'number' ? [pad, pad, pad, pad] : Array.isArray(pad) ? [...pad[1], ...pad[2]] : [0, 0, 0, 0];
    return pad === 'same' || (h + top + bottom >= kh && w + left + right >= kw);
  });

const FIXED: Case[] = [
  {n: 2, h: 9, w: 9, channels: 2, out: 3, kh: 2, kw: 2, strides: [3, 3], pad: 'same'},
  {n: 2, h: 8, w: 7, channels: 3, out: 4, kh: 3, kw: 3, strides: [2, 2], pad: 'same'},
  {n: 1, h: 7, w: 8, channels: 3, out: 2, kh: 3, kw: 1, strides: [1, 2], pad: 'valid'},
  {n: 3, h: 5, w: 6, channels: 2, out: 2, kh: 1, kw: 1, strides: [2, 2], pad: 'same'},
  {n: 2, h: 6, w: 5, channels: 4, out: 1, kh: 1, kw: 1, strides: [1, 1], pad: 'same'},
  {
    n: 1,
    h: 1,
    w: 4,
    channels: 1,
    out: 1,
    kh: 3,
    kw: 2,
    strides: [2, 1],
    pad: [
      [0, 0],
      [5, 0],
      [2, 2],
      [0, 0],
    ],
  },
];

for (const c of FIXED) {
  const name = `kernel ${c.kh}×${c.kw}, strides ${c.strides.join()}, padding ${JSON.stringify(c.pad)}`;
  test(`conv2d and its gradients agree with cpu: ${name}`, () => expectAgreement(conv2d(c)));
  test(`depthwiseConv2d and its gradients agree with cpu: ${name}`, () => expectAgreement(depthwise(c)));
}

test('conv2d and its gradients agree with cpu', async () => {
  await fc.assert(
    fc.asyncProperty(cases, c => expectAgreement(conv2d(c))),
    {numRuns: 150},
  );
});

test('depthwiseConv2d and its gradients agree with cpu', async () => {
  await fc.assert(
    fc.asyncProperty(cases, c => expectAgreement(depthwise(c))),
    {numRuns: 150},
  );
});

test('the gradients of a convolution in NCHW agree with cpu', () =>
  expectAgreement(() => {
    const x = tf.randomNormal([2, 3, 6, 5], 0, 1, 'float32', 1);
    const dy = tf.randomNormal([2, 4, 6, 5], 0, 1, 'float32', 2);
    const filter = tf.randomNormal([3, 3, 3, 4], 0, 1, 'float32', 3);
    const attrs = {strides: [1, 1], pad: 'same', dataFormat: 'NCHW'};
    return [
      tf.engine().runKernel(tf.Conv2DBackpropFilter, {x, dy}, {...attrs, filterShape: filter.shape}),
      tf.engine().runKernel(tf.Conv2DBackpropInput, {dy, filter}, {...attrs, inputShape: x.shape}),
    ];
  }));

test('conv1d, conv2dTranspose and their gradients agree with cpu', () =>
  expectAgreement(() => {
    const x = tf.randomNormal<tf.Rank.R3>([2, 9, 3], 0, 1, 'float32', 1);
    const kernel = tf.randomNormal<tf.Rank.R3>([3, 3, 4], 0, 1, 'float32', 2);
    const image = tf.randomNormal<tf.Rank.R4>([2, 4, 3, 3], 0, 1, 'float32', 3);
    const filter = tf.randomNormal<tf.Rank.R4>([3, 3, 2, 3], 0, 1, 'float32', 4);
    const square1d = (a: tf.Tensor, b: tf.Tensor) =>
      tf.square(tf.conv1d(a as tf.Tensor3D, b as tf.Tensor3D, 2, 'same'));
    const squareTransposed = (a: tf.Tensor, b: tf.Tensor) =>
      tf.square(tf.conv2dTranspose(a as tf.Tensor4D, b as tf.Tensor4D, [2, 8, 6, 2], 2, 'same'));
    return [
      ...tf.grads(square1d)([x, kernel]),
      squareTransposed(image, filter),
      ...tf.grads(squareTransposed)([image, filter]),
    ];
  }));

test.each(['same', 'valid'] as const)(
  "conv2dTranspose into an output smaller than its padding '%s' gives agrees with cpu",
  pad =>
    expectAgreement(() => {
      const x = tf.randomNormal<tf.Rank.R4>([1, 8, 9, 3], 0, 1, 'float32', 1);
      const filter = tf.randomNormal<tf.Rank.R4>([4, 3, 2, 3], 0, 1, 'float32', 2);
      return [tf.conv2dTranspose(x, filter, [1, 4, 5, 2], 1, pad)];
    }),
);

test('an empty batch of channels-first images is refused on wasm as in plain tfjs', async () => {
  await useBackend('wasm');
  const [x, kernel] = [tf.zeros<tf.Rank.R4>([0, 5, 7, 9]), tf.zeros<tf.Rank.R4>([2, 2, 5, 4])];
  expect(() => tf.conv2d(x, kernel, 1, 'valid', 'NCHW')).toThrow('channelsFirst');
});
