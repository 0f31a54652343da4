import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora/language';
import {sequenceLogProbs} from '../../../src/extensions/language/logProbs';
import {CHUNK, type Head} from '../../../src/extensions/transformers/ops/headInChunks';
import {numbers, random} from '../../helpers';
import {peakOf} from '../../memory';

const [ROWS, POSITIONS, WIDTH, CLASSES] = [4, 8, 3, 1024];

const whole = CHUNK.logits;
let kernel: tf.Variable<tf.Rank.R2>;
let states: tf.Variable<tf.Rank.R3>;
let answers: tf.Tensor2D;
let prompts: tf.Tensor2D;
let head: Head;

beforeAll(() => {
  kernel = tf.variable(random([WIDTH, CLASSES], 1), false);
  states = tf.variable(random([ROWS, POSITIONS, WIDTH], 2));
  const ids = Array.from({length: ROWS * POSITIONS}, (_, i) => (i * 37) % CLASSES);
  const isPrompt = (i: number) => i % POSITIONS < 3 + Math.floor(i / POSITIONS);
  const targetsOf = (counts: (i: number) => boolean) =>
    tf.tensor2d(
      ids.map((id, i) => (counts(i) ? id : -100)),
      [ROWS, POSITIONS],
    );
  [answers, prompts] = [targetsOf(i => !isPrompt(i)), targetsOf(isPrompt)];
  const apply = (x: tf.Tensor3D) =>
    tf.reshape<tf.Rank.R3>(tf.matMul(tf.reshape(x, [-1, WIDTH]), kernel), [x.shape[0], x.shape[1], CLASSES]);
  head = {classes: CLASSES, leastPositions: 1, dropouts: [], apply};
});
afterEach(() => {
  CHUNK.logits = whole;
});

/** The weighted sums of the log-probabilities, each row and each of the targets with a weight of its own. */
const weighted = (sums: tf.Tensor[]) =>
  tf.addN<tf.Scalar>(sums.map((each, i) => tf.sum<tf.Scalar>(tf.mul(each, tf.range(i + 1, i + 1 + ROWS)))));
const step = (targets: tf.Tensor2D[], compute: (x: tf.Tensor3D, targets: tf.Tensor2D[]) => tf.Tensor[]) =>
  tf.variableGrads(() => weighted(compute(tf.add(states, 0), targets)), [states]);
const inChunks = (x: tf.Tensor3D, targets: tf.Tensor2D[]) => sequenceLogProbs(targets, x, head);

test.each([
  ['one chunk', ROWS],
  ['chunks of two rows', 2],
  ['chunks of half a row', 0.5],
])('two sums take no more memory than one, and have the gradients of composed operations, in %s', (_, rows) => {
  CHUNK.logits = rows * POSITIONS * CLASSES;

  const composed = (x: tf.Tensor3D, targets: tf.Tensor2D[]) =>
    targets.map(each => {
      const chosen = tf.oneHot(tf.cast(each, 'int32'), CLASSES);
      return tf.sum(tf.mul(tf.logSoftmax(head.apply(x, true)), tf.cast(chosen, 'float32')), [1, 2]);
    });
  const outcome = (compute: typeof composed) => {
    const {value, grads} = step([answers, prompts], compute);
    return [...numbers(value), ...numbers(grads[states.name]!)];
  };
  expect(outcome(inChunks)).toBeAllClose(outcome(composed), {rtol: 1e-4, atol: 1e-4});
  const [one, two] = [[answers], [answers, prompts]].map(targets =>
    peakOf(() => {
      const {value, grads} = step(targets, inChunks);
      tf.dispose([value, grads]);
    }),
  ) as [number, number];
  expect(two).toBeLessThan(1.1 * one);
});
