import * as tf from '@tensorflow/tfjs';

/** Tokens of a prompt with its answer. */
export interface AnsweredPrompt {
  readonly ids: readonly number[];
  /** Where the answer begins. */
  readonly from: number;
}

/**
 * The tokens of sequences without the last, which nothing follows, and the mask. Padding is on the right.
 *
 * @returns tensors `[rows, positions]` each.
 */
export function inputsOf(
  sequences: readonly AnsweredPrompt[],
  padToMultipleOf: number,
): {xs: [tokens: tf.Tensor2D, mask: tf.Tensor2D]; positions: number} {
  const longest = Math.max(...sequences.map(({ids}) => ids.length - 1));
  const positions = Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
  const rows = sequences.length;
  const [tokens, mask] = [0, 0].map(() => new Int32Array(rows * positions)) as [Int32Array, Int32Array];
  sequences.forEach(({ids}, row) => {
    tokens.set(ids.slice(0, -1), row * positions);
    mask.fill(1, row * positions, row * positions + ids.length - 1);
  });
  return {
    xs: [tf.tensor2d(tokens, [rows, positions], 'int32'), tf.tensor2d(mask, [rows, positions], 'int32')],
    positions,
  };
}

/**
 * The first position whose target belongs to an answer, rounded down: the logits of those before it are not needed.
 * The remaining length stays a multiple.
 */
export function firstAnswerPosition(sequences: readonly AnsweredPrompt[], padToMultipleOf: number): number {
  const shared = Math.min(...sequences.map(({from}) => Math.max(0, from - 1)));
  return Math.floor(shared / padToMultipleOf) * padToMultipleOf;
}
