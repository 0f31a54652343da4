import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, misfitError, showShape} from '../../../platform/errors';
import {crossEntropyFromLogits} from '../ops/crossEntropy';
import {checkEmbeddings, normalized, similarities, type Similarity} from '../ops/similarities';

/** Options of `rankingLoss`. */
export interface RankingOptions {
  /** What similarities are multiplied with: 1 / temperature. Default: 20. */
  scale?: number;
  /** Default: `'cosine'`. */
  similarity?: Similarity;
  /** Whether each candidate has to find its anchor as well; the loss is then the mean of both ways. Default: false. */
  symmetric?: boolean;
}

/**
 * Computes the loss of multiple negatives ranking: each anchor has to find its own among all candidates, of which those
 * of the other anchors are negatives.
 *
 *     loss = mean over i of −log softmax(scale · sim(aᵢ, c))ᵢ
 *
 * Anchors are `[n, width]`, candidates `[n, width]`, in the same order, or more: rows from the n-th on are negatives of
 * all. (Henderson et al., arXiv 1705.00652; `MultipleNegativesRankingLoss` of sentence-transformers, and with
 * `symmetric` its `MultipleNegativesSymmetricRankingLoss`. InfoNCE, by another name.)
 *
 *     optimizer.minimize(() => rankingLoss(model.apply(questions), model.apply(answers)), false, variables)
 *
 * @param anchors embeddings, `[n, width]`.
 * @param candidates embeddings, `[m, width]`, `m ≥ n`: the i-th belongs to the i-th anchor.
 * @param options the scale, the similarity, and whether candidates have to find their anchors too.
 * @returns the mean over the anchors.
 * @throws LoRAError `ERR_MISFIT` if the shapes do not fit each other, `ERR_OPTION` if an option is out of range.
 * @experimental
 */
export function rankingLoss(anchors: tf.Tensor, candidates: tf.Tensor, options: RankingOptions = {}): tf.Scalar {
  checkOptions(options, {scale: true, similarity: true, symmetric: true});
  const {scale = 20, similarity = 'cosine', symmetric = false} = options;
  checkNumber('scale', scale, Number.isFinite(scale) && scale > 0, 'a positive number');
  checkEmbeddings(anchors, candidates, false);
  const [count, others] = [anchors.shape[0], candidates.shape[0]];
  if (count === 0 || others < count) {
    throw misfitError(`There must be a candidate for each of the ${count} anchors, got ${others}.`);
  }
  return tf.tidy(() => {
    const scores = tf.mul<tf.Tensor2D>(similarities(anchors, candidates, similarity), scale);
    const loss = ownCrossEntropy(scores);
    if (!symmetric) {
      return loss;
    }
    return meanOf(loss, ownCrossEntropy(tf.transpose(tf.slice(scores, [0, 0], [count, count]))));
  });
}

/**
 * Computes the loss of CLIP, of scores that its model gives for pairs: each image has to find its own text among all
 * of a batch, and each text its image.
 *
 *     loss = ½·(mean over i of −log softmax(S)ᵢᵢ + mean over i of −log softmax(Sᵀ)ᵢᵢ)    S: [n, n]
 *
 * What belongs together stands in the same row, so targets are not looked at: `model.compile({optimizer, loss:
 * pairLoss})` and any `[n, n]` numbers will do. (Radford et al., arXiv 2103.00020.)
 *
 * @param targets are not looked at.
 * @param scores of each image with each text, `[n, n]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the scores are not square.
 * @example
 *     model.compile({optimizer: adam({learningRate: 1e-5}), loss: pairLoss});
 * @experimental
 */
export function pairLoss(_targets: tf.Tensor, scores: tf.Tensor): tf.Scalar {
  checkPairs(scores);
  return tf.tidy(() => meanOf(ownCrossEntropy(scores), ownCrossEntropy(tf.transpose(scores))));
}

/**
 * Computes the loss of SigLIP, of scores that its model gives for pairs: each image with each text of a batch is a
 * question of its own, whether they belong together.
 *
 *     loss = mean over i of Σⱼ −log σ(zᵢⱼ·Sᵢⱼ)    S: [n, n]; z: 1 on the diagonal, −1 elsewhere
 *
 * Targets are not looked at, as by {@link pairLoss}. (Zhai et al., arXiv 2303.15343.)
 *
 * @param targets are not looked at.
 * @param scores of each image with each text, `[n, n]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the scores are not square.
 * @example
 *     model.compile({optimizer: adam({learningRate: 1e-5}), loss: sigmoidPairLoss});
 * @experimental
 */
export function sigmoidPairLoss(_targets: tf.Tensor, scores: tf.Tensor): tf.Scalar {
  checkPairs(scores);
  return tf.tidy(() => {
    const others = tf.sub(1, tf.mul(2, tf.eye(scores.shape[0]))); // −z
    return tf.mean<tf.Scalar>(tf.sum(tf.softplus(tf.mul(others, scores)), 1));
  });
}

function checkPairs({rank, shape}: tf.Tensor): void {
  if (rank !== 2 || shape[0] !== shape[1]) {
    throw misfitError(`Scores must be [pairs, pairs], as many images as texts, got ${showShape(shape)}.`);
  }
}

/** The cross-entropy of rows whose own column is the target. */
function ownCrossEntropy(scores: tf.Tensor): tf.Scalar {
  const own = tf.range(0, scores.shape[0], 1, 'int32');
  return crossEntropyFromLogits(own, scores);
}

function meanOf(one: tf.Scalar, other: tf.Scalar): tf.Scalar {
  return tf.div<tf.Scalar>(tf.add(one, other), 2);
}

/**
 * Computes how far the cosines of pairs are from what they should be: `mean of (cos(aᵢ, bᵢ) − targetᵢ)²`, `[n, width]`
 * each and `[n]`. (`CosineSimilarityLoss` of sentence-transformers.)
 *
 * @param one embeddings, `[n, width]`.
 * @param other embeddings, `[n, width]`.
 * @param targets the cosine that each pair should have, `[n]`.
 * @returns the mean over the pairs.
 * @throws LoRAError `ERR_MISFIT` if the shapes do not fit each other.
 * @example
 *     const loss = cosineLoss(tf.ones([2, 8]), tf.ones([2, 8]), tf.tensor1d([1, 0]));
 * @experimental
 */
export function cosineLoss(one: tf.Tensor, other: tf.Tensor, targets: tf.Tensor): tf.Scalar {
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
