import * as tf from '@tensorflow/tfjs';
import {checkNumber, LoRAError, show} from '../../../platform/errors';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';
import {shareOf} from '../../../platform/tfjs/metric';
import {constant} from '../logProbs';

// How models learn from preferences: each method as a function of log-probabilities. The definitions and defaults are
// those of TRL 1.16.

/** A method for pairs of a chosen and a rejected answer. */
export type PairMethodName = 'dpo' | 'ipo' | 'hinge' | 'orpo' | 'simpo';

/** The name of a method. */
export type PreferenceMethod = PairMethodName | 'kto';

/** The numbers of a method. */
export interface PreferenceMethodOptions {
  /** How strongly the reference constrains the model, or the scale of the rewards. Default: 0.1. */
  beta?: number;
  /** `'dpo'`, `'simpo'`: the share of pairs that are assumed to be swapped, below 0.5. Default: 0. */
  labelSmoothing?: number;
  /** `'simpo'`: the margin by which the chosen answer should win. Default: 0.5. */
  simpoGamma?: number;
  /** `'simpo'`: the weight of the cross-entropy of the chosen answers; the paper has 0. Default: 1. */
  cpoAlpha?: number;
  /** `'kto'`: the weight of answers with a thumb up. Default: 1. */
  desirableWeight?: number;
  /** `'kto'`: the weight of answers with a thumb down. Default: 1. */
  undesirableWeight?: number;
}

/** The name of a metric of preferences. */
export type PreferenceMetric = 'accuracy' | 'margin';

/** A method with the numbers that it has. */
export type PreferenceChoice =
  | ({method?: 'dpo'} & Having<'labelSmoothing'> &
      Partial<Record<Exclude<keyof PreferenceMethodOptions, 'beta' | 'labelSmoothing'>, undefined>>)
  | ({method: 'ipo' | 'hinge' | 'orpo'} & Having<never>)
  | ({method: 'simpo'} & Having<'labelSmoothing' | 'simpoGamma' | 'cpoAlpha'>)
  | ({method: 'kto'} & Having<'desirableWeight' | 'undesirableWeight', 'margin'>);

/** `beta`, some numbers of a method, and its metrics. */
type Having<Names extends keyof PreferenceMethodOptions, Metric = PreferenceMetric> = Pick<
  PreferenceMethodOptions,
  'beta' | Names
> & {
  metrics?: Metric | readonly Metric[];
};

/** The log-probabilities of answers, `[answers]` each. */
export interface AnswerLogProbs {
  /** Each the sum over its tokens. */
  readonly sums: tf.Tensor1D;
  /** How many tokens each has. */
  readonly lengths: tf.Tensor1D;
  /** The sums by the reference; zeros for a method without one. */
  readonly reference: tf.Tensor1D;
}

/** Log-probabilities of pairs: the i-th chosen and the i-th rejected answer have one prompt. */
export interface PairLogProbs {
  readonly chosen: AnswerLogProbs;
  readonly rejected: AnswerLogProbs;
  /** The mean of `log p` over all tokens of the prompts and the chosen answers. */
  readonly wholeMean: () => tf.Scalar;
}

/** Log-probabilities of answers that are judged one by one. */
export interface JudgedLogProbs {
  readonly answers: AnswerLogProbs;
  /** The answer of another example to the prompt of each. */
  readonly mismatched: AnswerLogProbs;
  /** 1 for a thumb up, 0 for a thumb down, `[answers]`. */
  readonly labels: tf.Tensor1D;
}

/** The loss of a batch, and its rewards, `[answers]` each. */
interface Judged {
  readonly loss: tf.Scalar;
  readonly chosen: tf.Tensor1D;
  readonly rejected: tf.Tensor1D;
}

type Numbers = Required<PreferenceMethodOptions>;

interface PairMethod {
  readonly needsReference: boolean;
  /** Whether it learns the prompts of chosen answers too. */
  readonly needsPrompts?: boolean;
  /** The options that it has besides `beta`. */
  readonly options: readonly (keyof PreferenceMethodOptions)[];
  readonly compute: (pairs: PairLogProbs, numbers: Numbers) => Judged;
}

/** A method whose losses are a function of the log-ratios to the reference, `log π(y|x) − log π_ref(y|x)`. */
function byRatios(
  options: readonly (keyof PreferenceMethodOptions)[],
  lossOf: (difference: tf.Tensor, numbers: Numbers, perToken: tf.Tensor) => tf.Tensor,
): PairMethod {
  return {
    needsReference: true,
    options,
    compute: ({chosen, rejected}, numbers) => {
      const [won, lost] = [ratiosOf(chosen), ratiosOf(rejected)] as const;
      const perToken = tf.sub(tf.div(won, chosen.lengths), tf.div(lost, rejected.lengths));
      return {
        loss: tf.mean(lossOf(tf.sub(won, lost), numbers, perToken)),
        chosen: tf.mul(won, numbers.beta),
        rejected: tf.mul(lost, numbers.beta),
      };
    },
  };
}

/**
 * Direct preference optimization (Rafailov et al., arXiv 2305.18290): `−log σ(βΔ)`. With label smoothing ε it is robust
 * DPO (Chowdhury et al., arXiv 2403.00409), TRL's loss `robust`: `(−(1 − ε)·log σ(βΔ) + ε·log σ(−βΔ)) / (1 − 2ε)`.
 */
const dpo = byRatios(['labelSmoothing'], (difference, {beta, labelSmoothing}) => {
  const logits = tf.mul(difference, beta);
  const clean = tf.mul(minusLogSigmoid(logits), 1 - labelSmoothing);
  const flipped = tf.mul(minusLogSigmoid(tf.neg(logits)), labelSmoothing);
  return tf.div(tf.sub(clean, flipped), 1 - 2 * labelSmoothing);
});

/** Identity preference optimization (Azar et al., arXiv 2310.12036): `(Δ − 1/(2β))²` of log-ratios per token. */
const ipo = byRatios([], (_, {beta}, perToken) => tf.square(tf.sub(perToken, 1 / (2 * beta))));

/** The hinge loss of SLiC (Zhao et al., arXiv 2305.10425): `max(0, 1 − βΔ)`. */
const hinge = byRatios([], (difference, {beta}) => tf.relu(tf.sub(1, tf.mul(difference, beta))));

/**
 * Odds ratio preference optimization (Hong et al., arXiv 2403.07691), of mean log-probabilities m per token:
 * `−mean log p(prompt and chosen answer) − β·log σ(log odds(chosen) − log odds(rejected))`, `odds = eᵐ / (1 − eᵐ)`.
 */
const orpo: PairMethod = {
  needsReference: false,
  needsPrompts: true,
  options: [],
  compute: ({chosen, rejected, wholeMean}, {beta}) => {
    const [won, lost] = [meansOf(chosen), meansOf(rejected)] as const;
    const logOdds = tf.sub(tf.sub(won, lost), tf.sub(logOneMinusExp(won), logOneMinusExp(lost)));
    return {
      loss: tf.sub(tf.mul(tf.mean(minusLogSigmoid(logOdds)), beta), wholeMean()),
      chosen: tf.mul(won, beta),
      rejected: tf.mul(lost, beta),
    };
  },
};

/**
 * SimPO (Meng et al., arXiv 2405.14734), of mean log-probabilities m per token: `−log σ(β·(m − m') − γ)`, smoothed,
 * plus `cpoAlpha` times the cross-entropy of the chosen answers, as in TRL's CPO trainer with the loss `simpo`.
 */
const simpo: PairMethod = {
  needsReference: false,
  options: ['labelSmoothing', 'simpoGamma', 'cpoAlpha'],
  compute: ({chosen, rejected}, {beta, labelSmoothing, simpoGamma, cpoAlpha}) => {
    const [won, lost] = [meansOf(chosen), meansOf(rejected)] as const;
    const logits = tf.sub(tf.mul(tf.sub(won, lost), beta), simpoGamma);
    const losses = tf.add(
      tf.mul(minusLogSigmoid(logits), 1 - labelSmoothing),
      tf.mul(minusLogSigmoid(tf.neg(logits)), labelSmoothing),
    );
    const likelihood = tf.div(tf.sum(chosen.sums), tf.sum(chosen.lengths));
    return {
      loss: tf.sub(tf.mean(losses), tf.mul(likelihood, cpoAlpha)),
      chosen: tf.mul(won, beta),
      rejected: tf.mul(lost, beta),
    };
  },
};

export const PAIR_METHODS: Readonly<Record<PairMethodName, PairMethod>> = {dpo, ipo, hinge, orpo, simpo};

/** The options of `'kto'` besides `beta`. */
const OF_KTO: readonly (keyof PreferenceMethodOptions)[] = ['desirableWeight', 'undesirableWeight'];

/**
 * KTO (Ethayarajh et al., arXiv 2402.01306), of single answers with a thumb up or down. With the log-ratio `r` of an
 * answer, and `z`, the mean log-ratio of mismatched answers, at least 0 and without a gradient:
 * `w⁺·(1 − σ(β·(r − z)))` for a thumb up and `w⁻·(1 − σ(β·(z − r)))` for a thumb down.
 */
export function kto(
  {answers, mismatched, labels}: JudgedLogProbs,
  {beta, desirableWeight, undesirableWeight}: Numbers,
): {loss: tf.Scalar; rewards: tf.Tensor1D} {
  const ratios = ratiosOf(answers);
  const divergence = constant(tf.relu(tf.mean(ratiosOf(mismatched))));
  const signs = tf.sub(tf.mul(labels, 2), 1);
  const weights = tf.add(tf.mul(labels, desirableWeight - undesirableWeight), undesirableWeight);
  const losses = tf.sigmoid(tf.mul(tf.mul(signs, -beta), tf.sub(ratios, divergence)));
  return {loss: tf.mean(tf.mul(losses, weights)), rewards: tf.mul(ratios, beta)};
}

/** The mean reward of thumbs up minus that of thumbs down; NaN if one of them is missing. */
export function marginOf(rewards: tf.Tensor1D, labels: tf.Tensor1D): tf.Tensor {
  const meanOf = (weights: tf.Tensor) => shareOf(tf.sum(tf.mul(rewards, weights)), tf.sum(weights));
  return tf.sub(meanOf(labels), meanOf(tf.sub(1, labels)));
}

/**
 * Fills in the defaults of a method's options.
 *
 * @throws LoRAError if there is no such method, it does not have an option, or a number is out of range.
 */
export function numbersOf(method: PreferenceMethod, options: PreferenceMethodOptions): Numbers {
  const names = [...Object.keys(PAIR_METHODS), 'kto'];
  if (!names.includes(method)) {
    throw new LoRAError(`method must be one of ${names.map(show).join(', ')}, got ${show(method)}.`);
  }
  const allowed = ['beta', ...(method === 'kto' ? OF_KTO : PAIR_METHODS[method].options)];
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !allowed.includes(name)) {
      throw new LoRAError(`Method ${show(method)} has no option ${name}. It has ${allowed.join(', ')}.`);
    }
  }
  const {beta = 0.1, labelSmoothing = 0, simpoGamma = 0.5, cpoAlpha = 1} = options;
  const {desirableWeight = 1, undesirableWeight = 1} = options;
  checkNumber('beta', beta, Number.isFinite(beta) && beta > 0, 'a positive number');
  checkNumber('labelSmoothing', labelSmoothing, labelSmoothing >= 0 && labelSmoothing < 0.5, 'from 0 to below 0.5');
  checkNumber('simpoGamma', simpoGamma, Number.isFinite(simpoGamma), 'a finite number');
  for (const [name, value] of Object.entries({cpoAlpha, desirableWeight, undesirableWeight})) {
    checkNumber(name, value, Number.isFinite(value) && value >= 0, 'a number that is not negative');
  }
  return {beta, labelSmoothing, simpoGamma, cpoAlpha, desirableWeight, undesirableWeight};
}

function ratiosOf({sums, reference}: AnswerLogProbs): tf.Tensor1D {
  return tf.sub(sums, reference);
}

function meansOf({sums, lengths}: AnswerLogProbs): tf.Tensor1D {
  return tf.div(sums, lengths);
}

function minusLogSigmoid(x: tf.Tensor): tf.Tensor {
  return tf.softplus(tf.neg(x));
}

/** Below `−ln 2`, `1 − eˣ` is at least a half, so that `log1p` is the more precise. */
const HALF = -Math.LN2;

/** `log(1 − eˣ)` for negative `x`. tfjs would differentiate both branches, one of which may be infinite. */
function logOneMinusExp(x: tf.Tensor1D): tf.Tensor {
  return runLazyOp({
    inputs: {x},
    save: {x: true},
    forward: () => tf.where(tf.less(x, HALF), tf.log1p(tf.neg(tf.exp(x))), tf.log(tf.neg(tf.expm1(x)))),
    gradient: (dy, saved) => ({x: () => tf.tidy(() => tf.neg(tf.div(dy, tf.expm1(tf.neg(saved.x)))))}),
  });
}
