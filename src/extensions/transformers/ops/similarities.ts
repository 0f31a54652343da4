import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError, show, showShape} from '../../../platform/errors';

/** How two embeddings are compared: by the cosine of their angle, or by their dot product. */
export type Similarity = 'cosine' | 'dot';

/**
 * Computes the similarities of all pairs of embeddings: `cos(aᵢ, bⱼ)` or `aᵢ·bⱼ`, `[n, width]` and `[m, width]` → `[n,
 * m]`.
 *
 * @param one embeddings, `[n, width]`.
 * @param other embeddings, `[m, width]`.
 * @param similarity `'cosine'` or `'dot'`.
 * @returns `[n, m]`.
 * @throws LoRAError `ERR_OPTION` if the similarity is unknown, `ERR_MISFIT` if the shapes do not match.
 * @example
 *     const scores = similarities(tf.ones([2, 8]), tf.ones([3, 8])); // [2, 3]
 * @experimental
 */
export function similarities(one: tf.Tensor, other: tf.Tensor, similarity: Similarity = 'cosine'): tf.Tensor2D {
  checkSimilarity(similarity);
  checkEmbeddings(one, other, false);
  return tf.tidy(() => {
    const [a, b] = similarity === 'cosine' ? [normalized(one), normalized(other)] : [one, other];
    return tf.matMul<tf.Tensor2D>(a, b, false, true);
  });
}

/** Rows scaled to length 1. Rows of zeros stay zero and have no gradient. */
export function normalized(rows: tf.Tensor): tf.Tensor2D {
  const normalize = tf.customGrad((x, save) => {
    const squares = tf.sum(tf.square(x as tf.Tensor), 1, true);
    const factors = tf.rsqrt(tf.maximum(squares, SHORTEST));
    const inverse = tf.where(tf.greater(squares, SHORTEST), factors, tf.zerosLike(factors));
    const y = tf.mul(x as tf.Tensor, inverse);
    (save as tf.GradSaveFunc)([y, inverse]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [unit, factor] = saved as [tf.Tensor, tf.Tensor];
        const along = tf.mul(unit, tf.sum(tf.mul(dy, unit), 1, true));
        return tf.mul(tf.sub(dy, along), factor);
      },
    };
  });
  return normalize(rows) as tf.Tensor2D;
}

/** Squared lengths below this count as 0, as in PyTorch. */
const SHORTEST = 1e-24;

function checkSimilarity(similarity: Similarity): void {
  if (!['cosine', 'dot'].includes(similarity)) {
    throw new LoRAError(`similarity must be 'cosine' or 'dot', got ${show(similarity)}.`);
  }
}

export function checkEmbeddings(one: tf.Tensor, other: tf.Tensor, inPairs: boolean): void {
  const [rows, width] = one.shape;
  if (one.rank !== 2 || other.rank !== 2 || other.shape[1] !== width || (inPairs && other.shape[0] !== rows)) {
    throw misfitError(
      `Embeddings must be [texts, width], ${inPairs ? 'as many' : 'as wide'} of one as of the other, got ` +
        `${showShape(one.shape)} and ${showShape(other.shape)}.`,
    );
  }
}
