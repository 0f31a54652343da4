import * as tf from '@tensorflow/tfjs';
import {numbers, random} from '../helpers';
import {expectAgreement} from './agreement';

test('truth values are chosen without a byte beyond the result', () => {
  const condition = tf.tensor1d([1, 0, 1, 0, 0], 'bool');
  const chosen = tf.where(condition, tf.ones([5], 'bool'), tf.zeros([5], 'bool'));
  expect([chosen.dtype, numbers(chosen)]).toEqual(['bool', [1, 0, 1, 0, 0]]);
});

test('a causal mask, the band below the diagonal, can be made again and again', () => {
  // tfjs's own attention makes one at each call. The kernel of wasm wrote beyond it until the memory was out of
  // order.
  for (let length = 2; length < 40; length++) {
    tf.tidy(() => {
      const mask = numbers(tf.linalg.bandPart(tf.ones([1, length, length], 'bool'), -1, 0));
      const expected = Array.from({length: length ** 2}, (_, i) => Number(i % length <= Math.floor(i / length)));
      expect(mask).toEqual(expected);
    });
  }
});

test('a choice between two dtypes converts both, as on cpu', () =>
  expectAgreement(() => {
    const condition = tf.tensor1d([1, 0, 1, 0], 'bool');
    const numbers = tf.tensor1d([1.5, -2.5, 3.5, 4.5]);
    const truths = tf.tensor1d([1, 1, 0, 1], 'bool');
    const whole = tf.tensor1d([5, 6, 7, 8], 'int32');
    return [
      tf.where(condition, numbers, truths),
      tf.where(condition, truths, whole),
      tf.where(condition, whole, numbers),
    ];
  }));

test('a choice between one row and no row holds nothing of the memory', () =>
  expectAgreement(() => {
    tf.dispose(Array.from({length: 200}, (_, i) => tf.ones([i]))); // what the memory holds
    return [tf.where(tf.tensor1d([1], 'bool'), tf.ones([1, 6, 6]), tf.ones([0, 6, 6]))];
  }));

// Larger than what is left to the backend: 2¹² numbers.
const WHOLE = [2, 9, 8, 40];
const SHAPES: [string, number[], number[]][] = [
  ['both whole', WHOLE, WHOLE],
  ['a scalar', WHOLE, []],
  ['a row', WHOLE, [40]],
  ['leading ones', WHOLE, [1, 1, 8, 40]],
  ['a row for each example', WHOLE, [2, 1, 1, 40]],
  ['a number for each pixel', WHOLE, [2, 9, 8, 1]],
  ['an inner one without the first axis', WHOLE, [9, 1, 40]],
  ['the left side', [2, 1, 1, 40], WHOLE],
  ['both sides', [2, 1, 8, 40], [9, 1, 1]],
];

describe.each(SHAPES)('of tensors that are repeated, %s,', (_, left, right) => {
  /** Few different numbers, so that many are equal; all positive. */
  const operands = () =>
    [left, right].map((shape, i) => tf.add(tf.round(tf.mul(tf.abs(random(shape, i + 1)), 2)), 1)) as [
      tf.Tensor,
      tf.Tensor,
    ];

  test.each([
    'equal',
    'notEqual',
    'greater',
    'greaterEqual',
    'less',
    'lessEqual',
    'maximum',
    'minimum',
    'pow',
    'mod',
    'floorDiv',
    'atan2',
  ] as const)('%s agrees with cpu', name => expectAgreement(() => [tf[name](...operands())]));

  test.each(['logicalAnd', 'logicalOr'] as const)('%s agrees with cpu', name =>
    expectAgreement(() => {
      const [a, b] = operands().map(x => tf.greater(x, 2)) as [tf.Tensor, tf.Tensor];
      return [tf[name](a, b)];
    }),
  );
});

test('whole numbers that are repeated are compared as on cpu', () =>
  expectAgreement(() => {
    const [a, b] = [WHOLE, [2, 1, 1, 40]].map((shape, i) => tf.cast(tf.mul(random(shape, i + 1), 3), 'int32'));
    return [tf.equal(a!, b!), tf.maximum(a!, b!)];
  }));

test('the gradients of max and min over pixels agree with cpu', () =>
  expectAgreement(() => [tf.max, tf.min].map(reduce => tf.grad(x => tf.square(reduce(x, [1, 2])))(random(WHOLE, 1)))));

test('tensors that do not fit are refused, and nothing is left behind', () => {
  const [a, b] = [tf.ones(WHOLE), tf.ones([3, 1, 1, 40])];
  const before = tf.memory().numTensors;
  expect(() => tf.equal(a, b)).toThrow(/broadcast/);
  expect(tf.memory().numTensors).toBe(before);
  tf.dispose([a, b]);
});

test.each([[[9, 8, 1]], [[9, 1, 40]], [[1, 8, 40]], [[40]], [[9, 8, 40]], [[1, 1, 1]]])(
  'prelu with slopes of shape %j',
  async shape => {
    await expectAgreement(() => [tf.prelu(random([2, 9, 8, 40], 1), random(shape, 2))]);
  },
);

test('slopes of more shapes than the values repeat these, and whole numbers are converted, as on cpu', () =>
  expectAgreement(() => {
    const slopes = tf.tensor2d([0.5, 2, -1, 3, 4, 0.25], [2, 3]);
    return [
      tf.prelu(tf.tensor2d([-1, 2, -3], [1, 3]), slopes),
      tf.prelu(tf.tensor1d([-4]), tf.range(0, 97)),
      tf.prelu(tf.tensor1d([-4, 5], 'int32'), tf.tensor1d([2, 3], 'int32')),
    ];
  }));

test('positive values and NaN pass slopes that are not finite', () => {
  const slopes = tf.tensor2d([NaN, Infinity, -Infinity, 2], [1, 4]);
  const x = tf.tensor2d([4, 1, 2, NaN, -1, -2, -3, -4], [2, 4]);
  expect(numbers(tf.prelu(x, slopes))).toEqual([4, 1, 2, NaN, NaN, -Infinity, Infinity, -8]);
  const whole = tf.tensor2d([[4], [-4]], [2, 1], 'int32');
  expect(numbers(tf.prelu(whole, slopes))).toEqual([4, 4, 4, 4, NaN, -Infinity, Infinity, -8]);
});

test('positive values pass such slopes in fused operations', () => {
  const x = tf.tensor2d([4, 1, 2, 3, -1, -2, -3, -4], [2, 4]);
  const images = tf.reshape<tf.Rank.R4>(x, [1, 2, 1, 4]);
  const each = {strides: 1, pad: 'same', activation: 'prelu'} as const;
  const slopes = {preluActivationWeights: tf.tensor([NaN, Infinity, -Infinity, 2])};
  const expected = [4, 1, 2, 3, NaN, -Infinity, Infinity, -8];
  const identity = tf.eye(4);
  const results = [
    tf.fused.matMul({a: x, b: identity, activation: 'prelu', ...slopes}),
    tf.fused.conv2d({x: images, filter: tf.reshape<tf.Rank.R4>(identity, [1, 1, 4, 4]), ...each, ...slopes}),
    tf.fused.depthwiseConv2d({x: images, filter: tf.ones<tf.Rank.R4>([1, 1, 4, 1]), ...each, ...slopes}),
  ];
  expect(results.map(numbers)).toEqual([expected, expected, expected]);
});
