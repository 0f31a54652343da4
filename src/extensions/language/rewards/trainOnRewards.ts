import type * as tf from '@tensorflow/tfjs';
import type {Tokenizer} from '../../transformers/load/tokenizer';
import type {RewardOptions, RewardRun} from './rewardOptions';

/**
 * Trains a language model by rewards for its own answers: GRPO and its kin. Each step samples a group of answers to a
 * prompt, rewards them, and makes those more likely that are better than the mean of their group. Losses, their options
 * and defaults are those of TRL's `GRPOTrainer` and `RLOOTrainer`.
 *
 *     loss = −Σ w·A + β·KL(policy ‖ reference),   A = (reward − mean of the group) / (deviation of the group)
 *
 * The call is a `fitDataset` whose epochs are steps, so callbacks see each step as an epoch, whose logs have `reward`,
 * `spread`, `equalGroups`, `length` and `truncated`. Answer `i` to prompt `p` of step `s` depends only on the model and
 * on `(seed, s, p, i)`: a run that continues from a checkpoint takes the same steps as one that was not interrupted.
 * Steps in which no answer has an advantage leave the optimizer as it is.
 *
 * If the call fails or is aborted, the model has the adapter after the last whole step, or with `restore` that from
 * before the call. Errors of this library say which.
 *
 * @param model a model of `loadGGUF` or `loadTransformer` with a head for the next token, usually adapted. With `beta`,
 *     the reference is the model without its adapter.
 * @param tokenizer the tokenizer of the model. Messages require a chat template.
 * @param options prompts, rewards, the optimizer, the number of steps, and settings of the algorithm.
 * @returns a promise of what happened in each step.
 * @throws LoRAError `ERR_OPTION` if an option is missing, out of range or belongs to another loss, or if a reward is no
 *     finite number; `ERR_MISFIT` if the model is no language model, the tokenizer does not fit it, or a checkpoint is
 *     of another run; `ERR_NOT_ADAPTED` for a `beta` without an adapter; `ERR_BUSY` if the model is training;
 *     `ERR_NUMERIC` if logits are not finite; `ERR_ABORTED`. Also what a reward or a callback throws.
 * @example
 *     const {steps} = await trainOnRewards(adapted, tokenizer, {
 *       prompts: ['What is a fox?'],
 *       rewards: [answers => answers.map(({text}) => (text.split(' ').length <= 12 ? 1 : 0))],
 *       optimizer: adamW({learningRate: 1e-4}),
 *       steps: 60,
 *     });
 * @experimental
 */
export async function trainOnRewards(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  options: RewardOptions,
): Promise<RewardRun> {
  const {runRewards} = await import('./rewardRun');
  return runRewards(model, tokenizer, options);
}
