import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, misfitError, showShape} from '../../../platform/errors';
import {crossEntropyFromLogits} from '../../../core/ops/crossEntropy';
import {checkEmbeddings, normalized, similarities, type Similarity} from '../ops/similarities';

/** Options of `rankingLoss`. */
export interface RankingOptions {
  /** The factor for similarities, 1 / temperature. Default: 20. */
  scale?: number;
  /** Default: `'cosine'`. */
  similarity?: Similarity;
  /** Whether each candidate must also find its anchor; the loss is then the mean of both directions. Default: false. */
  symmetric?: boolean;
}

/**
 * Computes the multiple negatives ranking loss (InfoNCE): each anchor has to find its own candidate; those of the other
 * anchors are negatives.
 *
 *     loss = mean over i of −log softmax(scale · sim(aᵢ, c))ᵢ
 *
 * Anchors are `[n, width]`, candidates `[n, width]` in the same order, or more: rows after the n-th are negatives for
 * all. (Henderson et al., arXiv 1705.00652; `MultipleNegativesRankingLoss` of sentence-transformers, and with
 * `symmetric` its `MultipleNegativesSymmetricRankingLoss`.)
 *
 *     optimizer.minimize(() => rankingLoss(model.apply(questions), model.apply(answers)), false, variables)
 *
 * @param anchors embeddings, `[n, width]`.
 * @param candidates embeddings, `[m, width]`, `m ≥ n`: the i-th belongs to the i-th anchor.
 * @param options the scale, the similarity, and whether the loss is symmetric.
 * @returns the mean over the anchors.
 * @throws LoRAError `ERR_MISFIT` if the shapes do not match, `ERR_OPTION` if an option is out of range.
 *
 * @experimental
 */
export function rankingLoss(anchors: tf.Tensor, candidates: tf.Tensor, options: RankingOptions = {}): tf.Scalar {
  checkOptions(options, {scale: true, similarity: true, symmetric: true});
  const {scale = 20, similarity = 'cosine', symmetric = false} = options;
  checkNumber('scale', scale, Number.isFinite(scale) && scale > 0, 'a positive number');
  checkEmbeddings(anchors, candidates, false);
  const [count, candidateCount] = [anchors.shape[0], candidates.shape[0]];
  if (count === 0 || candidateCount < count) {
    throw misfitError(`There must be a candidate for each of the ${count} anchors, got ${candidateCount}.`);
  }
  return tf.tidy(() => {
    const logits = tf.mul<tf.Tensor2D>(similarities(anchors, candidates, similarity), scale);
    const loss = ownCrossEntropy(logits);
    if (!symmetric) {
      return loss;
    }
    return meanOf(loss, ownCrossEntropy(tf.transpose(tf.slice(logits, [0, 0], [count, count]))));
  });
}

/**
 * Computes CLIP's loss from the logits of pairs: each image of a batch has to find its own text, and each text its
 * image.
 *
 *     loss = ½·(mean over i of −log softmax(S)ᵢᵢ + mean over i of −log softmax(Sᵀ)ᵢᵢ)    S: [n, n]
 *
 * Images and their texts are in the same order, so targets are ignored: use `model.compile({optimizer, loss:
 * pairLoss})` and any `[n, n]` tensor. (Radford et al., arXiv 2103.00020.)
 *
 * @param targets are ignored.
 * @param logits of each image with each text, `[n, n]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the logits are not square.
 * @example
 *     model.compile({optimizer: adam({learningRate: 1e-5}), loss: pairLoss});
 * @experimental
 */
export function pairLoss(_targets: tf.Tensor, logits: tf.Tensor): tf.Scalar {
  checkPairs(logits);
  return tf.tidy(() => meanOf(ownCrossEntropy(logits), ownCrossEntropy(tf.transpose(logits))));
}

/**
 * Computes SigLIP's loss from the logits of pairs: for each image and each text of a batch, a binary classification of
 * whether they belong together.
 *
 *     loss = mean over i of Σⱼ −log σ(zᵢⱼ·Sᵢⱼ)    S: [n, n]; z: 1 on the diagonal, −1 elsewhere
 *
 * Targets are ignored, as in {@link pairLoss}. (Zhai et al., arXiv 2303.15343.)
 *
 * @param targets are ignored.
 * @param logits of each image with each text, `[n, n]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the logits are not square.
 * @example
 *     model.compile({optimizer: adam({learningRate: 1e-5}), loss: sigmoidPairLoss});
 * @experimental
 */
export function sigmoidPairLoss(_targets: tf.Tensor, logits: tf.Tensor): tf.Scalar {
  checkPairs(logits);
  return tf.tidy(() => {
    const signs = tf.sub(1, tf.mul(2, tf.eye(logits.shape[0]))); // −z
    return tf.mean<tf.Scalar>(tf.sum(tf.softplus(tf.mul(signs, logits)), 1));
  });
}

function checkPairs({rank, shape}: tf.Tensor): void {
  if (rank !== 2 || shape[0] !== shape[1]) {
    throw misfitError(`Logits must be [pairs, pairs], with as many images as texts, got ${showShape(shape)}.`);
  }
}

/** The cross-entropy of rows whose target is the diagonal. */
function ownCrossEntropy(logits: tf.Tensor): tf.Scalar {
  const diagonal = tf.range(0, logits.shape[0], 1, 'int32');
  return crossEntropyFromLogits(diagonal, logits);
}

function meanOf(one: tf.Scalar, other: tf.Scalar): tf.Scalar {
  return tf.div<tf.Scalar>(tf.add(one, other), 2);
}

/**
 * Computes the mean squared error of the cosines of pairs: `mean of (cos(aᵢ, bᵢ) − targetᵢ)²`, `[n, width]` each and
 * `[n]`. (`CosineSimilarityLoss` of sentence-transformers.)
 *
 * @param targets the cosine that each pair should have, `[n]`.
 * @param one embeddings, `[n, width]`.
 * @param other embeddings, `[n, width]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the shapes do not match.
 * @example
 *     const loss = cosineLoss(tf.tensor1d([1, 0]), tf.ones([2, 8]), tf.ones([2, 8]));
 * @experimental
 */
export function cosineLoss(targets: tf.Tensor, one: tf.Tensor, other: tf.Tensor): tf.Scalar {
  checkEmbeddings(one, other, true);
  if (targets.size !== one.shape[0]) {
    throw misfitError(
      `There must be a target for each of ${String(one.shape[0])} pairs, got ${showShape(targets.shape)}.`,
    );
  }
  return tf.tidy(() => {
    const cosines = tf.sum(tf.mul(normalized(one), normalized(other)), 1);
    return tf.mean<tf.Scalar>(tf.square(tf.sub(cosines, tf.reshape(targets, [-1]))));
  });
}
