import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora';
import {ctcLoss, type CTCLossOptions} from 'tfjs-lora/sound';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';

/** JSON has only finite numbers. */
type Value = number | 'nan' | 'inf' | '-inf';

interface CTCCase {
  shape: [number, number, number];
  logits: Value[];
  targets: number[][];
  lengths: number[] | null;
  blank: number;
  losses: Value[];
  zeroed: Value[];
  gradients: Value[];
}

/** What `make_ctc.py` computed with PyTorch in 64 bits. */
const {cases} = JSON.parse(readFileSync(join(__dirname, '../../fixtures/ctc.json'), 'utf8')) as {cases: CTCCase[]};

function padded(targets: readonly number[][]): tf.Tensor2D {
  const length = Math.max(...targets.map(each => each.length));
  const values = targets.flatMap(each => [...each, ...Array<number>(length - each.length).fill(-100)]);
  return tf.tensor2d(values, [targets.length, length], 'int32');
}

function valueOf(value: Value): number {
  return typeof value === 'number' ? value : {nan: NaN, inf: Infinity, '-inf': -Infinity}[value];
}

/** Expects the same infinities and NaN, and numbers that are close to the largest. */
function expectValues(
  actual: readonly number[],
  given: readonly Value[],
  tolerance: {rtol: number; atol: number},
): void {
  const expected = given.map(valueOf);
  const notFinite = (values: readonly number[]) => values.map(value => (Number.isFinite(value) ? 0 : value));
  expect(notFinite(actual)).toEqual(notFinite(expected));
  expect(actual.filter(Number.isFinite)).toBeAllClose(expected.filter(Number.isFinite), tolerance);
}

test.each(cases.map((each, i) => [i, JSON.stringify(each.targets), each] as const))(
  'case %i, targets %s, has the losses and gradients of PyTorch',
  async (_i, _targets, {shape, logits: values, targets, lengths, blank, losses, zeroed, gradients}) => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const options: CTCLossOptions = {blank, ...(lengths && {inputLengths: tf.tensor1d(lengths, 'int32')})};
        const logits = tf.tensor3d(values.map(valueOf), shape);
        expectValues(numbers(ctcLoss(padded(targets), logits, options)), losses, {rtol: 1e-5, atol: 1e-5});
        const each = (x: tf.Tensor) => ctcLoss(padded(targets), x, {...options, zeroInfinity: true});
        expectValues(numbers(each(logits)), zeroed, {rtol: 1e-5, atol: 1e-5});
        const grad = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(each(x), tf.range(1, targets.length + 1))))(logits);
        const largest = Math.max(...gradients.map(valueOf).filter(Number.isFinite).map(Math.abs));
        expectValues(numbers(grad), gradients, {rtol: 0, atol: 1e-5 * largest});
      }),
    );
  },
);

test('an optimizer may make and cast the targets and lengths within a step', async () => {
  const kernel = tf.variable(random([4, 4], 1));
  const xs = random([1, 5, 4], 2);
  const targets = tf.tensor2d([[1, 2, 3]]);
  const lengths = tf.tensor1d([4]);
  const loss = (own: (made: tf.Tensor) => tf.Tensor) => () => {
    const options = {inputLengths: own(lengths) as tf.Tensor1D};
    const logits = tf.reshape(tf.matMul(tf.reshape(xs, [5, 4]), kernel), [1, 5, 4]);
    return tf.sum<tf.Scalar>(ctcLoss(own(targets), logits, options));
  };
  const gradientOf = (own: (made: tf.Tensor) => tf.Tensor) => {
    const {value, grads} = tf.variableGrads(loss(own), [kernel]);
    const values = numbers(grads[kernel.name]!);
    tf.dispose([value, grads]);
    return values;
  };
  const expected = gradientOf(outside => outside);
  await withoutLeaks(() => {
    expect(gradientOf(outside => tf.cast(tf.add(outside, 0), 'int32'))).toEqual(expected);
  });
});

test('a model trains with it', async () => {
  await useBackend('wasm');
  const kernel = tf.variable(tf.zeros([2, 3]));
  const xs = tf.tensor2d(Array.from({length: 8}, (_, i) => (i < 4 ? [1, 0] : [0, 1])));
  const loss = () => tf.sum<tf.Scalar>(ctcLoss(tf.tensor2d([[1, 2]]), tf.expandDims(tf.matMul(xs, kernel))));
  const optimizer = tf.train.adam(1);
  // At first all strings of 8 frames are equally probable; 210 of them spell the target.
  const steps = Array.from({length: 12}, () => optimizer.minimize(loss, true)!.dataSync()[0]!);
  expect(steps[0]).toBeCloseTo(Math.log(3 ** 8 / 210), 4);
  expect(steps.at(-1)).toBeLessThan(steps[0]! / 3);
});

test.each([
  [[[1, 0]], {}, 'Target 1 of example 0 is 0. It must be a class from 0 to 2 other than the blank, 0, or -100 for'],
  [[[1, 3]], {}, 'Target 1 of example 0 is 3.'],
  [[[-100, 1]], {}, 'Target 1 of example 0 is after padding.'],
  [[[1], [2]], {}, 'Logits must be [batch, frames, classes] and targets [batch, length], got [1, 4, 3] and [2, 1].'],
  [[[1]], {blank: 3}, 'blank is 3, but the logits have 3 classes.'],
  [[[1]], {blank: -1}, 'blank must be a whole number, 0 or more, got -1.'],
  [[[1]], {zero: true}, 'There is no option "zero".'],
])('targets %j with options %j are refused', async (targets, options, message) => {
  await useBackend('cpu');
  const refused = () => ctcLoss(tf.tensor2d(targets), tf.zeros([1, 4, 3]), options as CTCLossOptions);
  await withoutLeaks(() =>
    tf.tidy(() => {
      expect(refused).toThrow(message);
    }),
  );
});
