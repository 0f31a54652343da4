import * as tf from '@tensorflow/tfjs';
import type {Batch} from '../../../core/training/seededBatches';
import {IGNORED} from '../logProbs';
import {type AnsweredPrompt, inputsOf} from '../sequenceInputs';

// tfjs passes one tensor of targets to the loss of a model with one output. For each row it holds the next token of
// each position, followed by what else the loss has to know.

/** A row of a batch. */
export interface Sequence extends AnsweredPrompt {
  /** The log-probability of the answer by the reference, if there is one. */
  reference?: number;
  /** The rating of an answer: 1 for a thumb up, 0 for a thumb down, −1 for the answer of another example. */
  readonly label?: number;
}

/** How many values follow the targets of a row: where the answer begins, the reference, the label. */
const [ALONE, REFERENCE, LABEL] = [1, 2, 3] as const;

/** Makes a batch of sequences, two for each example. Padding is on the right. */
export function batchOf(sequences: readonly Sequence[], padToMultipleOf: number): Batch {
  const {xs, positions} = inputsOf(sequences, padToMultipleOf);
  const [first] = sequences;
  const further = first?.label !== undefined ? LABEL : first?.reference !== undefined ? REFERENCE : ALONE;
  const rows = sequences.length;
  const targets = new Float32Array(rows * (positions + further)).fill(IGNORED);
  sequences.forEach(({ids, from, reference = NaN, label = NaN}, row) => {
    targets.set(ids.slice(1), row * (positions + further));
    const facts = [Math.max(0, from - 1), reference, label].slice(0, further);
    targets.set(facts, row * (positions + further) + positions);
  });
  return {xs, ys: tf.tensor2d(targets, [rows, positions + further])};
}

/** What the targets of a batch hold. */
export interface Targets {
  readonly hasReference: boolean;
  readonly isJudged: boolean;
  /** The next tokens of answers, `[rows, positions]`; prompts are ignored. */
  answers(): tf.Tensor2D;
  /** The next tokens of prompts; answers are ignored. */
  prompts(): tf.Tensor2D;
  /** `[rows]`. */
  references(): tf.Tensor1D;
  /** `[rows]`. */
  labels(): tf.Tensor1D;
}

/** Reads the targets of a batch for some positions. */
export function targetsOf(ys: tf.Tensor2D, positions: number): Targets {
  const [rows, width] = ys.shape;
  const further = width - positions;
  const column = (i: number) => tf.slice2d(ys, [0, positions + i], [rows, 1]);
  const tokenTargets = () => tf.slice2d(ys, [0, 0], [rows, positions]);
  const isAnswer = () => tf.greaterEqual(tf.range(0, positions), column(0));
  return {
    hasReference: further >= REFERENCE,
    isJudged: further === LABEL,
    answers: () => tf.where(isAnswer(), tokenTargets(), IGNORED),
    prompts: () => tf.where(isAnswer(), IGNORED, tokenTargets()),
    references: () => tf.reshape(column(1), [-1]),
    labels: () => tf.reshape(column(2), [-1]),
  };
}
