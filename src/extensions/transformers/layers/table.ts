import * as tf from '@tensorflow/tfjs';
import type {WeightSpec} from '../../../core/layers/formulaLayer';

/** What a layer with a table says of other shapes. */
export const SEQUENCES = 'sequences, [batch, positions, width]';

export function isNoSequence(shape: tf.Shape): boolean {
  return shape.length !== 3 || shape[2] == null;
}

/** A table of vectors as wide as a sequence, and the shape in which a formula has it, if that is another one. */
export function tableOf(rows: number, shape: tf.Shape, axes: 2 | 3 = 2): {embeddings: WeightSpec} {
  const sizes = [rows, Number(shape.at(-1))];
  const start = tf.initializers.randomNormal({stddev: 0.02});
  return {embeddings: {shape: sizes, start, ...(axes === 3 && {form: [1, ...sizes]})}};
}
