import * as tf from '@tensorflow/tfjs';
import {constant} from '../logProbs';
import type {ResolvedRewards} from './rewardOptions';

// The losses of TRL 1.16 (GRPOTrainer and RLOOTrainer), as functions of log-probabilities.

/** Answers and what is known about their tokens. Tokens that do not count have log-probabilities of 0. */
export interface PolicyBatch {
  /** By the policy that trains, `[rows, tokens]`. */
  readonly logProbs: tf.Tensor2D;
  /** By the policy that sampled. */
  readonly old: tf.Tensor2D;
  /** By the reference. */
  readonly reference: tf.Tensor2D;
  /** 1 for the tokens that count, else 0. */
  readonly mask: tf.Tensor2D;
  /** `[rows, 1]`. */
  readonly advantages: tf.Tensor2D;
  /** The weight of each token of an answer in the loss; for `'rloo'`, that of the answer: `[rows, 1]`. */
  readonly weights: tf.Tensor2D;
}

/** Which loss it is. */
export type PolicyOptions = Pick<ResolvedRewards, 'loss' | 'beta' | 'epsilon' | 'epsilonHigh' | 'importance'>;

/** A loss, and what is logged about it. */
export interface PolicyOutcome {
  readonly loss: tf.Scalar;
  readonly kl: tf.Tensor;
  readonly clipped: tf.Tensor;
}

/**
 * The loss of a batch. With importance weights `w = p / p_old` of tokens, or of answers, their mean, and advantages A:
 *
 *     −min(w·A, clip(w, 1 − ε, 1 + ε_high)·A)      grpo, bnpo, dr_grpo, dapo: they differ in their weights
 *     −min(w, ε_high)·A·log p                       cispo, whose first factor is not differentiated
 *
 * plus `β·w·(p_ref / p − log(p_ref / p) − 1)` for each token. For RLOO, w is the ratio of whole answers and the
 * divergence is in the rewards.
 */
export function policyLoss(batch: PolicyBatch, options: PolicyOptions): PolicyOutcome {
  const {logProbs, old, reference, mask, advantages, weights} = batch;
  const {loss, beta, epsilon, epsilonHigh, importance} = options;
  const isRLOO = loss === 'rloo';
  const sumOf = (x: tf.Tensor) => tf.sum(tf.mul(x, mask), 1, true);
  const counts = tf.maximum(tf.sum(mask, 1, true), 1);
  const logRatios = tf.sub(logProbs, old);
  const logWeights = isRLOO
    ? sumOf(logRatios)
    : importance === 'sequence'
      ? tf.div(sumOf(logRatios), counts)
      : logRatios;
  const ratios = tf.exp(logWeights);
  const meanOf = (x: tf.Tensor) =>
    x.shape[1] === 1 && importance === 'sequence'
      ? tf.mean(x)
      : tf.div(tf.sum(tf.mul(x, mask)), tf.maximum(tf.sum(mask), 1));
  const hasGain = tf.greater(advantages, 0);
  const isHigh = tf.logicalAnd(tf.greater(ratios, loss === 'cispo' ? epsilonHigh : 1 + epsilonHigh), hasGain);
  const isLow = tf.logicalAnd(tf.less(ratios, 1 - epsilon), tf.less(advantages, 0));
  const clipped = meanOf(tf.cast(loss === 'cispo' ? isHigh : tf.logicalOr(isHigh, isLow), 'float32'));
  const policyTerms =
    loss === 'cispo'
      ? tf.neg(tf.mul(tf.mul(constant(tf.minimum(ratios, epsilonHigh)), advantages), logProbs))
      : tf.neg(
          tf.minimum(
            tf.mul(ratios, advantages),
            tf.mul(tf.clipByValue(ratios, 1 - epsilon, 1 + epsilonHigh), advantages),
          ),
        );
  if (isRLOO) {
    const divergence = tf.div(tf.sum(tf.mul(tf.sub(old, reference), mask)), tf.maximum(tf.sum(mask), 1));
    return {loss: tf.sum(tf.mul(policyTerms, weights)), kl: divergence, clipped};
  }
  const difference = tf.sub(reference, logProbs);
  // Samples of the old policy estimate the divergence of this one with the importance weights.
  const divergences = tf.mul(tf.sub(tf.sub(tf.exp(difference), difference), 1), ratios);
  const terms = beta === 0 ? policyTerms : tf.add(policyTerms, tf.mul(divergences, beta));
  return {
    loss: tf.sum(tf.mul(tf.mul(terms, mask), weights)),
    kl: tf.div(tf.sum(tf.mul(divergences, mask)), tf.maximum(tf.sum(mask), 1)),
    clipped,
  };
}

/**
 * The weight of a token of each answer in the loss of a pass; for `'rloo'`, the weight of each answer. The mean over
 * the passes of a step is the loss of the step.
 *
 * @param lengths how many tokens of each answer of the step count.
 */
export function tokenWeights(
  lengths: readonly number[],
  {loss, maxTokens, batchSize}: Pick<ResolvedRewards, 'loss' | 'maxTokens' | 'batchSize'>,
): number[] {
  const tokensIn = (from: number, to: number) =>
    Math.max(
      1,
      lengths.slice(from, to).reduce((sum, n) => sum + n, 0),
    );
  const passes = lengths.length / batchSize;
  return lengths.map((length, row) => {
    const first = row - (row % batchSize);
    switch (loss) {
      case 'grpo':
        return 1 / (batchSize * Math.max(1, length));
      case 'bnpo':
        return 1 / tokensIn(first, first + batchSize);
      case 'dr_grpo':
        return 1 / (batchSize * maxTokens);
      case 'dapo':
      case 'cispo':
        return passes / tokensIn(0, lengths.length);
      case 'rloo':
        return 1 / batchSize;
    }
  });
}
