import {LoRAError, brief, kindOf, show} from '../../../platform/errors';
import {unlessAborted} from '../../../platform/signals';
import type {ResolvedRewards, RewardFunction, SampledAnswer} from './rewardOptions';

/** The rewards of answers, and how much better than expected each is. */
export interface Advantages {
  readonly advantages: readonly number[];
  /** The weighted sum of the rewards of each answer. */
  readonly totals: readonly number[];
  /** The standard deviation of each group. */
  readonly spreads: readonly number[];
  /** Whether all rewards of a group are equal. */
  readonly areEqual: readonly boolean[];
}

/** TRL adds it to standard deviations before it divides by them. */
const LEAST_SPREAD = 1e-4;

/**
 * Rewards answers.
 *
 * @returns the rewards of each answer, in the order of the functions.
 * @throws LoRAError `ERR_OPTION` if a function returns something else than a finite number for each answer; what a
 *     function throws; `ERR_ABORTED`.
 */
export async function rewardsOf(
  answers: readonly SampledAnswer[],
  functions: readonly RewardFunction[],
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const columns: (readonly number[])[] = [];
  for (const [i, reward] of functions.entries()) {
    const values: unknown = await unlessAborted(Promise.resolve(reward(answers)), signal);
    if (!Array.isArray(values) || values.length !== answers.length) {
      throw new LoRAError(
        `Reward ${i} must return a list of ${answers.length} numbers, one for each answer, got ` +
          `${Array.isArray(values) ? `a list of ${values.length}` : kindOf(values)}.`,
      );
    }
    const wrong = values.findIndex(value => !Number.isFinite(value));
    if (wrong >= 0) {
      throw new LoRAError(
        `Reward ${i} must return finite numbers, got ${show(values[wrong])} for the answer ` +
          `${brief(answers[wrong]?.text)}.`,
      );
    }
    columns.push(values as number[]);
  }
  return answers.map((_, row) => columns.map(values => values[row] as number));
}

/**
 * The advantages of answers: their rewards minus the mean of their group, for `'rloo'` minus that of the others in it,
 * divided by a standard deviation. Where all rewards of a group are equal they are exactly 0.
 *
 * @param rewards of each answer, by function; a group of answers after the other.
 * @param penalties what `'rloo'` takes off the sum of each answer.
 */
export function advantagesOf(
  rewards: readonly (readonly number[])[],
  {
    weights,
    group,
    loss,
    scaleRewards,
    combine,
  }: Pick<ResolvedRewards, 'weights' | 'group' | 'loss' | 'scaleRewards' | 'combine'>,
  penalties: readonly number[] = [],
): Advantages {
  const sums = rewards.map(values => weightedSum(values, weights));
  const totals = sums.map((sum, i) => sum - (penalties[i] ?? 0));
  const groups = groupsOf(totals, group);
  const ofGroups = {
    totals: sums,
    spreads: groupsOf(sums, group).map(deviation),
    areEqual: groups.map(isConstant),
  };
  if (combine === 'normalize') {
    const normalized = weights.map((_, i) =>
      groupsOf(
        rewards.map(values => values[i] as number),
        group,
      ).flatMap(values => centred(values).map(value => value / (deviation(values) + LEAST_SPREAD))),
    );
    const combined = rewards.map((_, row) =>
      weightedSum(
        normalized.map(values => values[row] as number),
        weights,
      ),
    );
    return {...ofGroups, advantages: standardized(combined)};
  }
  if (loss === 'rloo') {
    // A reward minus the mean of the others is that minus the mean of all, times n / (n − 1).
    const advantages = groups.flatMap(values => centred(values).map(value => (value * group) / (group - 1)));
    return {...ofGroups, advantages: scaleRewards === 'batch' ? standardized(advantages) : advantages};
  }
  const ofBatch = deviation(totals);
  const advantages = groups.flatMap(values => {
    const spread = scaleRewards === 'group' ? deviation(values) : ofBatch;
    return centred(values).map(value => (scaleRewards === 'none' ? value : value / (spread + LEAST_SPREAD)));
  });
  return {...ofGroups, advantages};
}

function weightedSum(values: readonly number[], weights: readonly number[]): number {
  return values.reduce((sum, value, i) => sum + value * (weights[i] as number), 0);
}

function groupsOf(values: readonly number[], size: number): number[][] {
  return Array.from({length: values.length / size}, (_, i) => values.slice(i * size, (i + 1) * size));
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function isConstant(values: readonly number[]): boolean {
  return values.every(value => value === values[0]);
}

/** The values minus their mean: exactly 0 if they are equal, whatever rounding does to the mean. */
function centred(values: readonly number[]): number[] {
  const mean = isConstant(values) ? (values[0] ?? 0) : meanOf(values);
  return values.map(value => value - mean);
}

function standardized(values: readonly number[]): number[] {
  return centred(values).map(value => value / (deviation(values) + LEAST_SPREAD));
}

/** The standard deviation of a sample. */
function deviation(values: readonly number[]): number {
  const squares = centred(values).map(value => value ** 2);
  return Math.sqrt(squares.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length - 1));
}
