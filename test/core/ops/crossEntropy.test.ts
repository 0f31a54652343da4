import * as tf from '@tensorflow/tfjs';
import {crossEntropyGradient, crossEntropySums, crossEntropyValue} from '../../../src/core/ops/crossEntropy';
import {numbers} from '../../helpers';

// Composed operations: the kernels of one dispatch come with tfjs-lora/transformers.

const IGNORED = -7;
const LOGITS = [[[0, 0, Math.log(2)], [Math.log(3), 0, 0]], [[0, Math.log(2), 0], [0, 0, 0]]]; // prettier-ignore
/** Their probabilities. */
const [A, B, C, D] = [[1 / 4, 1 / 4, 1 / 2], [3 / 5, 1 / 5, 1 / 5], [1 / 4, 1 / 2, 1 / 4], [1 / 3, 1 / 3, 1 / 3]] as const; // prettier-ignore
const ANSWERS = [[2, IGNORED], [0, 1]]; // prettier-ignore
const PROMPTS = [[IGNORED, 1], [IGNORED, IGNORED]]; // prettier-ignore
const OF_ANSWERS = [Math.log(2), Math.log(4) + Math.log(3)] as const;

/** The gradient at a position, `k · (p − onehot)`. */
const at = (probabilities: readonly number[], target: number, k: number) =>
  probabilities.map((p, i) => k * (p - (i === target ? 1 : 0)));

test.each([
  ['one target', [ANSWERS], [[1], [3]], undefined, OF_ANSWERS, 0],
  [
    'two targets',
    [ANSWERS, PROMPTS],
    [
      [1, 2],
      [3, 4],
    ],
    undefined,
    [OF_ANSWERS[0], Math.log(5), OF_ANSWERS[1], 0],
    2,
  ],
  [
    'alike targets',
    [ANSWERS, PROMPTS],
    [
      [1, 1],
      [3, 3],
    ],
    true,
    [OF_ANSWERS[0], Math.log(5), OF_ANSWERS[1], 0],
    1,
  ],
] as const)('sums of rows and their gradient: %s', (_, targets, dy, areAlike, sums, ofPrompt) => {
  const compute = (z: tf.Tensor) =>
    crossEntropySums(targets.map(rows => tf.tensor2d(rows)), z, IGNORED, areAlike); // prettier-ignore
  const {value, grad} = tf.valueAndGrad(compute)(tf.tensor3d(LOGITS), tf.tensor2d(dy.map(row => [...row])));
  expect(numbers(value)).toBeAllClose(sums);
  expect(numbers(grad)).toBeAllClose([...at(A, 2, 1), ...at(B, 1, ofPrompt), ...at(C, 0, 3), ...at(D, 1, 3)]);
});

test('the mean over positions that count, and its gradient; NaN and zeros for a target that is no class', () => {
  const logits = tf.tensor3d(LOGITS);
  const [right, wrong] = [ANSWERS, [[2, 3], [0, 1]]].map(rows => tf.tensor2d(rows)) as [tf.Tensor, tf.Tensor]; // prettier-ignore
  expect(numbers(crossEntropyValue(right, logits, IGNORED))).toBeAllClose([(OF_ANSWERS[0] + OF_ANSWERS[1]) / 3]);
  expect(numbers(crossEntropyGradient(logits, right, tf.scalar(6), IGNORED))).toBeAllClose(
    [...at(A, 2, 2), 0, 0, 0, ...at(C, 0, 2), ...at(D, 1, 2)], // prettier-ignore
  );
  expect(numbers(crossEntropyValue(wrong, logits, IGNORED))).toEqual([NaN]);
  expect(numbers(crossEntropyGradient(logits, wrong, tf.scalar(6), IGNORED))).toEqual(Array<number>(12).fill(0));
});
