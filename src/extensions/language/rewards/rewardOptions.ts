import type * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, kindOf, LoRAError, show} from '../../../platform/errors';
import {type CallOptions, checkCallOptions} from '../../../platform/signals';
import type {CheckpointPlace} from '../../../core/training/checkpointFile';
import {checkOptimizer} from '../../../core/training/optimizerNames';
import type {Prompt} from '../generate';

/** An answer that the model gave in a run, for the functions that reward it. */
export interface SampledAnswer {
  /** The prompt that it answers. */
  readonly prompt: Prompt;
  /** Its text, without the token that ends it. */
  readonly text: string;
  /** Its tokens, with the one that ends it if there is one. */
  readonly tokens: readonly number[];
  /** Whether it was cut off, at `maxTokens` or the model's last position. */
  readonly truncated: boolean;
  /** The entry of `prompts`, with its further fields. */
  readonly record: RewardPrompt;
}

/** A prompt, or an object of one with further fields for the rewards, such as the right answer. */
export type RewardPrompt = Prompt | ({readonly prompt: Prompt} & Readonly<Record<string, unknown>>);

/** Rewards answers: a finite number for each, in their order. Higher is better. */
export type RewardFunction = (answers: readonly SampledAnswer[]) => readonly number[] | Promise<readonly number[]>;

/** How a policy learns from advantages, by TRL's names. */
export type RewardLoss = 'grpo' | 'bnpo' | 'dr_grpo' | 'dapo' | 'cispo' | 'rloo';

/** What a step did. */
export interface RewardStep {
  /** Counted from 0. */
  readonly step: number;
  /** The mean of the weighted sum of all rewards. */
  readonly reward: number;
  /** The mean of each reward, in the order of the functions. */
  readonly rewards: readonly number[];
  /** The mean over groups of the standard deviation of the weighted sum. */
  readonly spread: number;
  /** The share of groups whose rewards are all equal: nothing is learned from them. */
  readonly equalGroups: number;
  /** The mean loss; 0 for a step without any advantage. */
  readonly loss: number;
  /** The mean KL divergence from the reference per token; NaN without `beta`, and for a step without any advantage. */
  readonly kl: number;
  /** The mean entropy of the next token; NaN for a step without any advantage. */
  readonly entropy: number;
  /** The share of tokens, or of answers, whose importance weight was clipped; NaN for a step without any advantage. */
  readonly clipped: number;
  /** The mean number of tokens of an answer. */
  readonly length: number;
  /** The share of answers that were cut off. */
  readonly truncated: number;
  /** How many answers have no text. */
  readonly empty: number;
  /** How many groups have only answers that were cut off. */
  readonly truncatedGroups: number;
  /** The answers to the first prompt of the step, with their rewards and advantages. */
  readonly examples: readonly (SampledAnswer & {readonly reward: number; readonly advantage: number})[];
}

/** What `trainOnRewards` did. */
export interface RewardRun {
  /** The steps, those of earlier processes too if the run was resumed; these have no examples. */
  readonly steps: readonly RewardStep[];
  /** From which step the run was resumed; 0 if it began anew. */
  readonly resumedAt: number;
}

/** Options of `trainOnRewards`. Names and defaults of the algorithm are TRL's. */
export interface RewardOptions extends CallOptions {
  /** The prompts that the model answers: texts or messages, with further fields if rewards need them. */
  prompts: readonly RewardPrompt[];
  /** The functions that reward answers, each with a weight or with 1. */
  rewards: readonly (RewardFunction | readonly [reward: RewardFunction, weight: number])[];
  /** As for `model.compile`. A learning rate of 1e-5 to 1e-4 is usual for adapters. */
  optimizer: tf.Optimizer;
  /** How many times answers are sampled and learned from. */
  steps: number;
  /** How many answers each prompt gets. Default: 8. */
  group?: number;
  /** How many prompts a step has. Default: 1. */
  promptsPerStep?: number;
  /** How many answers are in a forward and backward pass. Fewer take less memory. Default: `group`. */
  batchSize?: number;
  /** The most tokens of an answer. Default: 128. */
  maxTokens?: number;
  /** Divides the logits, in samples and in their log-probabilities. Default: 1. */
  temperature?: number;
  /** Samples from this many tokens with the highest logits. Default: all. */
  topK?: number;
  /** Samples from the fewest likeliest tokens whose probabilities add up to it. Default: 1, all. */
  topP?: number;
  /** Default: `'dapo'`. */
  loss?: RewardLoss;
  /** The weight of the KL divergence from the model without its adapter. Default: 0; for `'rloo'` 0.05. */
  beta?: number;
  /** Importance weights are clipped below 1 minus this. Default: 0.2. */
  epsilon?: number;
  /** And above 1 plus this; for `'cispo'`, above this itself, where it is required. Default: `epsilon`. */
  epsilonHigh?: number;
  /** Whether the importance weight is of a token or of an answer. `'rloo'` has only the latter. Default: `'token'`. */
  importance?: 'token' | 'sequence';
  /** The standard deviation that divides advantages. Default: `'group'`; for `'rloo'` `'none'`. */
  scaleRewards?: 'group' | 'batch' | 'none';
  /** Whether several rewards are summed, or normalized in their groups before. Default: `'sum'`. */
  combine?: 'sum' | 'normalize';
  /** How many times a step learns from its samples. Default: 1. */
  iterations?: number;
  /** Whether answers that were cut off are left out of the loss. Default: false. */
  maskTruncated?: boolean;
  /** Pads batches to a multiple of so many positions, at most to the longest possible answer. Default: 16. */
  padToMultipleOf?: number;
  /** Decides prompts and samples: a whole number. Default: 0. */
  seed?: number;
  /** Where a checkpoint is saved after each step. If there is one, the call continues from it. Default: none. */
  checkpoint?: CheckpointPlace;
  /** Callbacks as for `fitDataset`, in which a step of this call is an epoch. */
  callbacks?: readonly (tf.Callback | tf.CustomCallback)[];
  /** Called after each step. If it throws, the call ends with that error. */
  onStep?: (step: RewardStep) => void;
  /** Whether the adapter from before the call is restored if it fails or is aborted. Default: false. */
  restore?: boolean;
}

/** Options with their defaults, checked. */
export type ResolvedRewards = Required<
  Omit<RewardOptions, 'signal' | 'onProgress' | 'checkpoint' | 'onStep' | 'rewards'>
> &
  Pick<RewardOptions, 'signal' | 'onProgress' | 'checkpoint' | 'onStep'> & {
    readonly functions: readonly RewardFunction[];
    readonly weights: readonly number[];
  };

const LOSSES: readonly RewardLoss[] = ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo', 'rloo'];

/** @throws LoRAError if an option is missing, unknown or out of range. */
export function resolveRewards(options: RewardOptions): ResolvedRewards {
  checkOptions(
    options,
    {
      ...{prompts: true, rewards: true, optimizer: true, steps: true, group: true, promptsPerStep: true},
      ...{batchSize: true, maxTokens: true, temperature: true, topK: true, topP: true, loss: true, beta: true},
      ...{epsilon: true, epsilonHigh: true, importance: true, scaleRewards: true, combine: true, iterations: true},
      ...{maskTruncated: true, padToMultipleOf: true, seed: true, checkpoint: true, callbacks: true, onStep: true},
      ...{restore: true, signal: true, onProgress: true},
    },
    'trainOnRewards(model, tokenizer, {prompts, rewards: [reward], optimizer, steps: 60})',
  );
  const {prompts, rewards, optimizer, steps, group = 8, promptsPerStep = 1, batchSize = group} = options;
  const {maxTokens = 128, temperature = 1, topK = Infinity, topP = 1, loss = 'dapo', epsilon = 0.2} = options;
  checkName('loss', loss, LOSSES);
  const isRLOO = loss === 'rloo';
  const {beta = isRLOO ? 0.05 : 0, epsilonHigh = epsilon, importance = isRLOO ? 'sequence' : 'token'} = options;
  const {scaleRewards = isRLOO ? 'none' : 'group', combine = 'sum', iterations = 1, maskTruncated = false} = options;
  const {padToMultipleOf = 16, seed = 0, checkpoint, callbacks = [], restore = false} = options;
  const {signal, onProgress, onStep} = options;
  checkCallOptions(options);
  checkOptimizer(optimizer);
  for (const [name, value, least] of [
    ['steps', steps, 1],
    ['group', group, 2],
    ['promptsPerStep', promptsPerStep, 1],
    ['batchSize', batchSize, 1],
    ['maxTokens', maxTokens, 1],
    ['iterations', iterations, 1],
    ['padToMultipleOf', padToMultipleOf, 1],
    ...(topK === Infinity ? [] : [['topK', topK, 1] as const]),
  ] as const) {
    checkCount(name, value, least);
  }
  if ((group * promptsPerStep) % batchSize !== 0) {
    throw new LoRAError(
      `batchSize must divide the ${group * promptsPerStep} answers of a step, so that each pass has as many, got ` +
        `${batchSize}.`,
    );
  }
  const isPositive = (value: number) => Number.isFinite(value) && value > 0;
  checkNumber('temperature', temperature, isPositive(temperature), 'a positive number');
  checkNumber('topP', topP, topP > 0 && topP <= 1, 'above 0 and at most 1');
  checkNumber('beta', beta, Number.isFinite(beta) && beta >= 0, 'a number that is not negative');
  checkNumber('epsilon', epsilon, epsilon > 0 && epsilon < 1, 'between 0 and 1');
  checkNumber('epsilonHigh', epsilonHigh, isPositive(epsilonHigh), 'a positive number');
  checkNumber('seed', seed, Number.isSafeInteger(seed), 'a whole number');
  if (loss === 'cispo' && options.epsilonHigh === undefined) {
    throw new LoRAError("Loss 'cispo' needs epsilonHigh, the highest importance weight. TRL recommends 5.");
  }
  checkName('importance', importance, isRLOO ? ['sequence'] : ['token', 'sequence']);
  checkName('scaleRewards', scaleRewards, isRLOO ? ['batch', 'none'] : ['group', 'batch', 'none']);
  checkName('combine', combine, isRLOO ? ['sum'] : ['sum', 'normalize']);
  for (const [name, value] of Object.entries({maskTruncated, restore})) {
    if (typeof value !== 'boolean') {
      throw new LoRAError(`${name} must be true or false, got ${show(value)}.`);
    }
  }
  for (const [name, value] of Object.entries({prompts, rewards, callbacks})) {
    if (!Array.isArray(value) || (value.length === 0 && name !== 'callbacks')) {
      throw new LoRAError(`${name} must be a list, and not an empty one, got ${kindOf(value)}.`);
    }
  }
  if (onStep !== undefined && typeof onStep !== 'function') {
    throw new LoRAError(`onStep must be a function, got ${kindOf(onStep)}.`);
  }
  const weighted = rewards.map((reward, i) => {
    const [reward_, weight] = typeof reward === 'function' ? [reward, 1] : reward;
    if (typeof reward_ !== 'function' || !Number.isFinite(weight)) {
      throw new LoRAError(
        `Reward ${i} must be a function of answers, or [function, weight] with a finite weight, got ${show(reward)}.`,
      );
    }
    return {reward: reward_, weight};
  });
  return {
    ...{prompts, optimizer, steps, group, promptsPerStep, batchSize, maxTokens, temperature, topK, topP, loss, beta},
    ...{epsilon, epsilonHigh, importance, scaleRewards, combine, iterations, maskTruncated, padToMultipleOf, seed},
    ...{checkpoint, callbacks, onStep, restore, signal, onProgress},
    functions: weighted.map(({reward}) => reward),
    weights: weighted.map(({weight}) => weight),
  };
}

function checkName(option: string, name: unknown, names: readonly string[]): void {
  if (!names.includes(name as string)) {
    throw new LoRAError(`${option} must be ${names.map(show).join(' or ')}, got ${show(name)}.`);
  }
}

/** The prompt of an entry of `prompts`. */
export function promptOf(record: RewardPrompt | null): Prompt {
  return typeof record === 'object' && record !== null && 'prompt' in record ? record.prompt : (record as Prompt);
}
