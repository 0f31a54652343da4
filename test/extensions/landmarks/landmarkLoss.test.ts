import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {landmarkLoss, normalizedMeanError, percentageOfCorrectKeypoints} from 'tfjs-lora/landmarks';
import {numbers, useBackend} from '../../helpers';

/** Two examples of three points; the box around the first is 6 by 8, around the second 3 by 4. */
const TRUTH = [
  [0, 0, 6, 0, 0, 8],
  [1, 1, 4, 1, 1, 5],
];
const GUESS = [
  [3, 4, 6, 0, 0, 8.2],
  [1, 1, 4, 1, 1, 5],
];

const nan = NaN;

test('smooth L1 is a parabola below beta and straight above, of errors by the diagonal of the box', () => {
  const loss = landmarkLoss({points: 3, beta: 0.1});
  const values = loss(tf.tensor2d(TRUTH), tf.tensor2d(GUESS));
  // Errors by 10: 0.3, 0.4 and 0.02. Straight: 0.3 − 0.05 and 0.4 − 0.05; the parabola: 0.02² / 0.2. Six coordinates.
  expect(values.shape).toEqual([2]);
  expect(numbers(values)).toBeAllClose([(0.25 + 0.35 + 0.002) / 6, 0]);
});

test('wing is a logarithm below its width and straight above', () => {
  const loss = landmarkLoss({points: 3, kind: 'wing', width: 0.2, curvature: 0.04, size: 10});
  const bent = (error: number) => 0.2 * Math.log(1 + error / 0.04);
  const straight = (error: number) => error - 0.2 + bent(0.2);
  const values = loss(tf.tensor2d(TRUTH), tf.tensor2d(GUESS));
  expect(numbers(values)).toBeAllClose([(straight(0.3) + straight(0.4) + bent(0.02)) / 6, 0]);
});

test.each(['smoothL1', 'wing'] as const)('%s has the slope of its formula', kind => {
  const bend = kind === 'wing' ? {width: 0.1, curvature: 0.05} : {beta: 0.1};
  const loss = landmarkLoss({points: 3, kind, ...bend, size: 10});
  const gradient = tf.grad((guess: tf.Tensor) => tf.sum<tf.Scalar>(loss(tf.tensor2d(TRUTH), guess)));
  const slope = kind === 'wing' ? 0.1 / (0.05 + 0.02) : 0.02 / 0.1;
  const expected = [1, 1, 0, 0, 0, slope, 0, 0, 0, 0, 0, 0].map(value => value / 10 / 6);
  expect(numbers(gradient(tf.tensor2d(GUESS)))).toBeAllClose(expected);
});

test('a landmark that is not known does not count, for the error or for the size', () => {
  const truth = tf.tensor2d([[nan, 0, 6, 0, 0, 8]]);
  const loss = landmarkLoss({points: 3, size: 'box', beta: 0.1});
  const guess = tf.tensor2d([[99, 99, 6, 1, 0, 8]]);
  // The box of the other two is 6 by 8 still.
  expect(numbers(loss(truth, guess))).toBeAllClose([(0.1 - 0.05) / 4]);
  const gradient = tf.grad((x: tf.Tensor) => tf.sum<tf.Scalar>(loss(truth, x)))(guess);
  expect(numbers(gradient)).toBeAllClose([0, 0, 0, 1 / 10 / 4, 0, 0]);
  const nothing = tf.fill([1, 6], nan);
  expect(numbers(loss(nothing, guess))).toEqual([0]);
  expect(numbers(tf.grad((x: tf.Tensor) => tf.sum<tf.Scalar>(loss(nothing, x)))(guess))).toEqual(Array(6).fill(0));
});

test('landmarks count by their visibility, and the value of an unknown one does not matter', () => {
  const layout = {points: 3, visibility: 3, size: [0, 1] as const};
  const truth = tf.tensor3d([
    [
      [0, 0, 7, 1],
      [10, 0, 7, 0.5],
      [nan, 0, 7, 1],
    ],
  ]);
  const guess = tf.tensor3d([
    [
      [3, 4, 0, 0],
      [10, 2, 0, 0],
      [50, 50, 0, 0],
    ],
  ]);
  const sum = 1 * 0.5 + 0.5 * 0.2;
  expect(numbers(normalizedMeanError(layout)(truth, guess))).toBeAllClose([sum / 1.5]);
  expect(numbers(percentageOfCorrectKeypoints({...layout, threshold: 0.3})(truth, guess))).toBeAllClose([0.5 / 1.5]);
  const l1 = ([x, y]: number[]) => (Math.max(x! - 0.025, 0) + Math.max(y! - 0.025, 0)) / 2;
  expect(numbers(landmarkLoss(layout)(truth, guess))).toBeAllClose([(l1([0.3, 0.4]) + 0.5 * l1([0, 0.2])) / 1.5]);
});

test('a landmark whose visibility is not known does not count, for the error or for the size', () => {
  const layout = {points: 3, visibility: 2, beta: 0.1};
  const truth = tf.tensor2d([[90, 0, nan, 6, 0, 1, 0, 8, 1]]);
  const guess = tf.tensor2d([[99, 99, 0, 6, 1, 0, 0, 8, 0]]);
  // As above: the box of the other two is 6 by 8.
  expect(numbers(landmarkLoss(layout)(truth, guess))).toBeAllClose([(0.1 - 0.05) / 4]);
  const {beta: _, ...sized} = layout;
  expect(numbers(normalizedMeanError(sized)(truth, guess))).toBeAllClose([0.1 / 2]);
  const gradient = tf.grad((x: tf.Tensor) => tf.sum<tf.Scalar>(landmarkLoss(layout)(truth, x)))(guess);
  expect(numbers(gradient)).toBeAllClose([0, 0, 0, 0, 1 / 10 / 4, 0, 0, 0, 0]);
});

test('metrics of a batch without landmarks are NaN, which a mean over batches shows', () => {
  const nothing = tf.fill([2, 6], nan);
  const guess = tf.zeros([2, 6]);
  expect(numbers(normalizedMeanError({points: 3})(nothing, guess))).toEqual([nan]);
  expect(numbers(percentageOfCorrectKeypoints({points: 3})(nothing, guess))).toEqual([nan]);
  const half = tf.tensor2d([[nan, nan, nan, nan, nan, nan], [0, 0, 6, 0, 0, 8]]); // prettier-ignore
  // Of errors 0, 6 and 8 by a diagonal of 10.
  expect(numbers(normalizedMeanError({points: 3})(half, guess))).toBeAllClose([14 / 10 / 3]);
});

test('metrics leave out examples without a size, and count depth where it is a coordinate', () => {
  const truth = tf.tensor3d([
    [
      [0, 0, 0],
      [3, 4, 0],
    ],
    [
      [2, 2, 0],
      [2, 2, 0],
    ],
  ]);
  const guess = tf.tensor3d([
    [
      [0, 0, 1],
      [3, 4, 0],
    ],
    [
      [9, 9, 9],
      [9, 9, 9],
    ],
  ]);
  expect(numbers(normalizedMeanError({points: 2, dimensions: 3})(truth, guess))).toBeAllClose([0.2 / 2]);
  expect(numbers(normalizedMeanError({points: 2})(truth, guess))).toEqual([0]);
  expect(numbers(percentageOfCorrectKeypoints({points: 2, dimensions: 3})(truth, guess))).toEqual([0.5]);
});

test('a model learns by it, with the metrics by their names in the logs', async () => {
  await useBackend('wasm');
  const layout = {points: 3, size: 8} as const;
  const model = tf.sequential({layers: [tf.layers.dense({units: 6, inputShape: [2], kernelInitializer: 'zeros'})]});
  const metrics = [normalizedMeanError(layout), percentageOfCorrectKeypoints(layout)];
  model.compile({optimizer: tf.train.adam(0.5), loss: landmarkLoss(layout), metrics});
  const {history} = await model.fit(tf.eye(2), tf.tensor2d(TRUTH), {epochs: 60, verbose: 0});
  expect(Object.keys(history)).toEqual(['loss', 'nme', 'pck']);
  expect(history.nme!.at(-1)).toBeLessThan(0.1 * Number(history.nme![0]));
  expect(history.pck!.at(-1)).toBe(1);
});

test.each([
  [{points: 0}, 'points must be a whole number, 1 or more, got 0.'],
  [{points: 3, dimensions: 4}, 'dimensions must be 2 or 3, got 4.'],
  [{points: 3, visibility: 1}, 'visibility must be the index of a value after the 2 coordinates, got 1.'],
  [{points: 3, size: [0, 3]}, 'size must be two of the 3 landmarks, counted from 0, got [0,3].'],
  [{points: 3, size: 'hand'}, 'size must be \'box\', two landmarks or a number above 0, got "hand".'],
  [{points: 3, beta: 0}, 'beta must be a number above 0, got 0.'],
  [{points: 3, kind: 'l2'}, "kind must be 'smoothL1' or 'wing', got \"l2\"."],
])('the options %j are refused', (options, message) => {
  expect(() => landmarkLoss(options as Parameters<typeof landmarkLoss>[0])).toThrow(new LoRAError(message));
});

test('shapes that do not fit are refused', async () => {
  await useBackend('cpu');
  const loss = landmarkLoss({points: 3});
  expect(() => loss(tf.zeros([2, 6]), tf.zeros([2, 7]))).toThrow(
    'The predictions must hold 3 landmarks in each example, got the shape [2, 7].',
  );
  expect(() => loss(tf.zeros([2, 3]), tf.zeros([2, 6]))).toThrow(
    'Targets [2, 3] and predictions [2, 6] do not hold 3 landmarks of 2 coordinates.',
  );
});
