import * as tf from '@tensorflow/tfjs';
import {checkpointed, dependsOnTrainable} from '../../../src/core/ops/recording';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

beforeAll(() => useBackend('cpu'));

/** What `f` says, asked while a gradient in `variables` is being recorded. */
function whileRecording<T>(variables: tf.Variable[], f: () => T): T {
  let answer: T | undefined;
  tf.tidy(() => {
    tf.variableGrads(() => {
      answer = f();
      return tf.addN<tf.Scalar>(variables.map(variable => tf.sum(variable)));
    }, variables);
  });
  return answer as T;
}

// This one first: tfjs has no tape at all until the first gradient is taken.
test('nothing but a variable depends on what trains before a gradient was ever taken', () => {
  const x = tf.tensor1d([1]);
  const [trains, fixed] = tf.tidy(() => [tf.variable(x), tf.variable(x, false)]);
  expect(dependsOnTrainable(x)).toBe(false);
  expect(dependsOnTrainable(trains)).toBe(true);
  expect(dependsOnTrainable(fixed)).toBe(false);
});

test('a tensor depends on what trains if it was computed from it, however far back', async () => {
  await withoutLeaks(() => {
    const x = tf.tensor1d([1]);
    const [trains, fixed] = tf.tidy(() => [tf.variable(x), tf.variable(x, false)] as const);
    const answers = whileRecording([trains], () => {
      const data = tf.square(tf.add(x, fixed));
      const first = tf.mul(data, trains);
      const before = [data, first].map(dependsOnTrainable);
      const later = tf.sum(tf.add(first, 1));
      const parts = tf.split(tf.concat([data, first]), 2);
      return [...before, ...[later, tf.neg(data), ...parts].map(dependsOnTrainable)];
    });
    expect(answers).toEqual([false, true, true, false, true, true]);
    tf.dispose([x, trains, fixed]);
  });
});

test('each gradient is looked at by itself', () => {
  const x = tf.tensor1d([1]);
  const variable = tf.tidy(() => tf.variable(x));
  const ask = () => whileRecording([variable], () => dependsOnTrainable(tf.mul(x, variable)));
  expect([ask(), ask()]).toEqual([true, true]);
  expect(dependsOnTrainable(tf.tidy(() => tf.keep(tf.neg(variable))))).toBe(false);
  variable.trainable = false;
  const other = tf.tidy(() => tf.variable(x));
  const answer = whileRecording([other], () => dependsOnTrainable(tf.mul(x, variable)));
  expect(answer).toBe(false);
});

test('a checkpoint keeps its input and its result, and nothing of the steps between', () => {
  const [data, variable] = tf.tidy(() => [tf.keep(tf.tensor1d([2])), tf.variable(tf.tensor1d([3]))]);
  tf.tidy(() => {
    const kept = whileRecording([variable], () => {
      const before = tf.memory().numTensors;
      const y = checkpointed(x => tf.square(tf.add(tf.exp(tf.log(x)), 1)), data);
      expect(numbers(y)).toBeAllClose([9]);
      return tf.memory().numTensors - before;
    });
    expect(kept).toBe(2);
    const many = checkpointed(x => [tf.square(x), tf.neg(x)], data);
    expect(many.map(numbers)).toEqual([[4], [-2]]);
  });
  tf.dispose([data, variable]);
});

test('a checkpoint has a gradient when it is requested, together with other gradients', async () => {
  await withoutLeaks(() => {
    const variable = tf.tidy(() => tf.variable(tf.tensor1d([3])));
    tf.tidy(() => {
      const f = (x: tf.Tensor) =>
        tf.sum(
          tf.mul(
            variable,
            tf.add(
              checkpointed(z => tf.mul(z, tf.square(z)), x),
              x,
            ),
          ),
        );
      expect(numbers(tf.grad(f)(tf.tensor1d([2])))).toBeAllClose([3 * (12 + 1)]); // v·(3x² + 1)
      const pair = (x: tf.Tensor) =>
        tf.addN(checkpointed(z => [tf.square(z), tf.mul(z, 5)], x).map((y, i) => tf.mul(tf.sum(y), i + 1)));
      expect(numbers(tf.grad(pair)(tf.tensor1d([2])))).toBeAllClose([4 + 10]); // 2x + 2·5
    });
    variable.dispose();
  });
});
