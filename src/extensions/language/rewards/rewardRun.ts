import * as tf from '@tensorflow/tfjs';
import {busyError} from '../../../platform/errors';
import {checksumOf} from '../../../platform/formats/checksum';
import {throwIfAborted} from '../../../platform/signals';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {isTraining} from '../../../platform/tfjs/training';
import {withAdapter} from '../../../core/model/currentAdapter';
import {fittedModel} from '../../../core/model/fits';
import {type Logs, resolveLogs, TrainingCallback} from '../../../core/training/callback';
import {checkpoint} from '../../../core/training/checkpoint';
import {withOutcome} from '../../../core/training/fineTune';
import {type OptimizerState, restoreOptimizer, stateOfOptimizer} from '../../../core/training/optimizerState';
import {resumeRun} from '../../../core/training/resume';
import {type CallbackState, forgetResumed} from '../../../core/training/resumed';
import {checkIdentity, identityOfBase} from '../../../core/training/runIdentity';
import {type Batch, orderOf} from '../../../core/training/seededBatches';
import {changingVariables, Snapshot} from '../../../core/training/snapshot';
import {languageFacts} from '../../transformers/load/languageFacts';
import type {Tokenizer} from '../../transformers/load/tokenizer';
import {encodePrompts, type TextEnds} from '../generate';
import {checkLanguageTokenizer} from '../languageTokenizer';
import {languageParts} from '../session';
import {advantagesOf, meanOf, rewardsOf} from './advantages';
import {tokenWeights} from './policyLoss';
import {compilePolicy, needsOld} from './compilePolicy';
import {answerLogProbs, type JudgedSample, rewardBatch} from './rewardBatches';
import {
  promptOf,
  type ResolvedRewards,
  resolveRewards,
  type RewardOptions,
  type RewardRun,
  type RewardStep,
  type SampledAnswer,
} from './rewardOptions';
import {drawsOf, sampleAnswers} from './sampleAnswers';

/** What is known about a step when its answers are judged. */
type Judged = Omit<RewardStep, 'loss' | 'kl' | 'entropy' | 'clipped'>;

/** Samples answers, rewards them, and makes batches of them: an epoch of `fitDataset` for each step. */
class RewardDataset extends /* @__PURE__ */ (() => tf.data.Dataset<Batch>)() {
  override readonly size: number;
  /** Why sampling ended. */
  failure: {error: unknown} | undefined;
  /** The current step. */
  judged: Judged | undefined;

  constructor(
    private readonly model: tf.LayersModel,
    private readonly texts: TextEnds & {readonly ids: readonly (readonly number[])[]},
    private readonly options: ResolvedRewards,
    /** The step that begins next. */
    public step: number,
  ) {
    super();
    const {group, promptsPerStep, batchSize, iterations} = options;
    this.size = ((group * promptsPerStep) / batchSize) * iterations;
  }

  override iterator(): ReturnType<tf.data.Dataset<Batch>['iterator']> {
    return tf.data.generator(() => this.batches() as unknown as Iterator<Batch>).iterator();
  }

  /** The batches of a step. An error ends them, since tfjs would change its message. */
  private async *batches(): AsyncGenerator<Batch, void, undefined> {
    const {padToMultipleOf, batchSize, iterations, signal, beta} = this.options;
    try {
      const samples = await this.judgedSamples();
      if (beta === 0 && samples.every(({advantage, counts}) => advantage === 0 || !counts)) {
        return; // the optimizer would move by its moments alone
      }
      for (let iteration = 0; iteration < iterations; iteration++) {
        for (let row = 0; row < samples.length; row += batchSize) {
          throwIfAborted(signal);
          yield rewardBatch(samples.slice(row, row + batchSize), padToMultipleOf);
        }
      }
    } catch (error) {
      this.failure = {error};
    }
  }

  /** Answers of the current step, in the order of their prompts. */
  private async sampled(): Promise<{answer: SampledAnswer; prompt: readonly number[]}[]> {
    const {model, texts, step, options} = this;
    const {prompts, promptsPerStep, group, seed, maxTokens, onProgress} = options;
    const answers: {answer: SampledAnswer; prompt: readonly number[]}[] = [];
    for (let i = 0; i < promptsPerStep; i++) {
      const place = step * promptsPerStep + i;
      const order = orderOf(prompts.length, seed, Math.floor(place / prompts.length));
      const index = order[place % prompts.length] as number;
      const record = prompts[index] as ResolvedRewards['prompts'][number];
      const prompt = texts.ids[index] as readonly number[];
      const draws = Array.from({length: group}, (_, answer) => drawsOf(seed, step, i, answer));
      const samples = await sampleAnswers(model, texts, prompt, draws, options, count =>
        onProgress?.({done: i * maxTokens + count, total: promptsPerStep * maxTokens, what: 'sampling tokens'}),
      );
      answers.push(...samples.map(sample => ({prompt, answer: {...sample, record, prompt: promptOf(record)}})));
    }
    return answers;
  }

  private async judgedSamples(): Promise<JudgedSample[]> {
    const {model, step, options} = this;
    const {functions, group, loss, beta, batchSize, maskTruncated, signal} = options;
    throwIfAborted(signal);
    const sampled = await this.sampled();
    const answers = sampled.map(({answer}) => answer);
    const rewards = await rewardsOf(answers, functions, signal);
    const rows = sampled.map(({answer, prompt}) => ({ids: [...prompt, ...answer.tokens], from: prompt.length}));
    const parts = languageParts(model);
    const logProbs = async (isBase: boolean) => {
      const ofRows: Float32Array[] = [];
      for (let row = 0; row < rows.length; row += batchSize) {
        throwIfAborted(signal);
        const passRows = rows.slice(row, row + batchSize);
        ofRows.push(...(await answerLogProbs(model, parts, passRows, {...options, isBase})));
      }
      return ofRows;
    };
    const reference = beta > 0 ? await logProbs(true) : undefined;
    const old = needsOld(options) ? await logProbs(false) : undefined;
    const counts = answers.map(({truncated}) => !(maskTruncated && truncated));
    const penalties =
      loss === 'rloo' && beta > 0
        ? rows.map((_, row) => (counts[row] === true ? beta * (sumOf(old?.[row]) - sumOf(reference?.[row])) : 0))
        : [];
    const judgement = advantagesOf(rewards, options, penalties);
    const lengths = answers.map(({tokens}, row) => (counts[row] === true ? tokens.length : 0));
    const weights = tokenWeights(lengths, options);
    const {totals, advantages, spreads, areEqual} = judgement;
    this.judged = {
      step,
      reward: meanOf(totals),
      rewards: functions.map((_, i) => meanOf(rewards.map(values => values[i] as number))),
      spread: meanOf(spreads),
      equalGroups: meanOf(areEqual.map(Number)),
      length: meanOf(answers.map(({tokens}) => tokens.length)),
      truncated: meanOf(answers.map(({truncated}) => Number(truncated))),
      empty: answers.filter(({text}) => text.trim() === '').length,
      truncatedGroups: spreads.filter((_, i) =>
        answers.slice(i * group, (i + 1) * group).every(({truncated}) => truncated),
      ).length,
      examples: answers
        .slice(0, group)
        .map((answer, i) => ({...answer, reward: totals[i] as number, advantage: advantages[i] as number})),
    };
    return rows.map((row, i) => ({
      ...row,
      counts: counts[i] as boolean,
      advantage: advantages[i] as number,
      weight: weights[i] as number,
      ...(old && {old: old[i]}),
      ...(reference && {reference: reference[i]}),
    }));
  }
}

function sumOf(values: Float32Array | undefined): number {
  return values?.reduce((sum, value) => sum + value, 0) ?? 0;
}

/** The values of a model and the moments of its optimizer at some time. Unchanged ones take no memory. */
class RunState {
  private readonly values: Snapshot;
  private readonly optimizer: OptimizerState;
  private readonly slots: Readonly<Record<string, tf.Tensor>>;

  constructor(private readonly model: tf.LayersModel) {
    this.values = new Snapshot(changingVariables(model));
    const {state, tensors} = stateOfOptimizer(model.optimizer);
    this.optimizer = state;
    this.slots = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))] as const),
    );
  }

  restore(): void {
    this.values.restore();
    restoreOptimizer(this.model.optimizer, this.optimizer, this.slots, this.model.trainableWeights);
  }

  dispose(): void {
    this.values.dispose();
    tf.dispose(this.slots);
  }
}

/** Ends steps: it logs what their answers were like, and throws what ended the sampling. It comes first. */
class RewardCourse extends TrainingCallback {
  override readonly stateName = 'rewards';
  steps: RewardStep[] = [];
  /** The state after the last whole step. */
  private snapshot: RunState | undefined;

  constructor(
    private readonly dataset: RewardDataset,
    private readonly identity: Record<string, string>,
    private readonly onStep: RewardOptions['onStep'],
  ) {
    super();
  }

  override async onEpochBegin(epoch: number): Promise<void> {
    await super.onEpochBegin(epoch);
    this.dataset.step = epoch;
    this.snapshot?.dispose();
    this.snapshot = new RunState(this.subject);
  }

  protected override async endEpoch(_epoch: number, logs: Logs): Promise<void> {
    const {failure, judged} = this.dataset;
    if (failure !== undefined || judged === undefined) {
      throw failure?.error;
    }
    const {loss = 0, kl = NaN, entropy = NaN, clipped = NaN} = await resolveLogs(logs);
    const step: RewardStep = {...judged, loss, kl, entropy, clipped};
    this.steps.push(step);
    const {reward, spread, equalGroups, length, truncated} = step;
    Object.assign(logs, {loss, reward, spread, equalGroups, length, truncated});
    this.onStep?.(step);
  }

  /** Restores the state after the last whole step, and ends the other callbacks. */
  endAll(): void {
    this.snapshot?.restore();
    this.all.forEach(callback => {
      callback.abandon();
      callback.release();
    });
  }

  override release(): void {
    this.snapshot?.dispose();
    this.snapshot = undefined;
  }

  protected override end(): void {
    this.release();
  }

  override state(): CallbackState {
    // Numbers as text, since JSON has no NaN.
    const steps = this.steps.map(({examples: _, ...step}) =>
      Object.entries(step).map(([name, value]) => [name, [value].flat().map(String)]),
    );
    return {values: {identity: this.identity, steps}, tensors: {}};
  }

  protected override resume({values}: CallbackState): void {
    const steps = values.steps as readonly (readonly (readonly [name: string, texts: readonly string[]])[])[];
    this.steps = steps.map(entries => {
      const numbers = entries.map(([name, texts]) => [name, name === 'rewards' ? texts.map(Number) : Number(texts[0])]);
      return {...(Object.fromEntries(numbers) as Omit<RewardStep, 'examples'>), examples: []};
    });
  }
}

/** The call of `trainOnRewards`, whose code is loaded with it. */
export async function runRewards(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  options: RewardOptions,
): Promise<RewardRun> {
  const resolved = resolveRewards(options);
  const {prompts, steps, beta, restore, signal, callbacks, maxTokens} = resolved;
  checkModel(model);
  checkLanguageTokenizer(tokenizer);
  languageParts(model); // refuses other models
  const {ids, ends} = encodePrompts(prompts.map(promptOf), {tokenizer, facts: languageFacts(model)});
  if (beta > 0) {
    withAdapter(model, null, () => undefined); // refuses a model without an adapter
  }
  throwIfAborted(signal);
  if (isTraining(fittedModel(model))) {
    throw busyError('The model is already training: another fit is running. Await it first.');
  }
  compilePolicy(model, resolved);
  const before = restore ? new RunState(model) : undefined;
  const identity = resolved.checkpoint === undefined ? {} : await identityOf(model, resolved);
  const resumed =
    resolved.checkpoint === undefined
      ? undefined
      : await resumeRun(model, resolved.checkpoint, {signal}, ({callbacks: saved}) => {
          checkIdentity(identity, saved.rewards?.identity);
        });
  const first = resumed?.initialEpoch ?? 0;
  const longest = ids.reduce((most, {length}) => Math.max(most, length), 0) + maxTokens;
  const padToMultipleOf = Math.min(resolved.padToMultipleOf, longest); // more would be padding alone
  const dataset = new RewardDataset(model, {tokenizer, ends, ids}, {...resolved, padToMultipleOf}, first);
  const course = new RewardCourse(dataset, identity, resolved.onStep);
  try {
    await model.fitDataset(dataset, {
      epochs: steps,
      initialEpoch: first,
      callbacks: [
        course,
        ...(resolved.checkpoint === undefined ? [] : [checkpoint(resolved.checkpoint)]),
        ...callbacks,
      ] as tf.Callback[],
      verbose: 0,
    });
  } catch (error) {
    course.endAll();
    forgetResumed(model);
    before?.restore();
    throw withOutcome(
      error,
      before
        ? 'The model has the adapter that it had before.'
        : `The model has the adapter of step ${course.steps.length}.`,
    );
  } finally {
    before?.dispose();
  }
  return {steps: course.steps, resumedAt: first};
}

/** What has to be the same when a run continues. */
async function identityOf(model: tf.LayersModel, options: ResolvedRewards): Promise<Record<string, string>> {
  const {prompts, functions, optimizer: _, steps: __, checkpoint: ___, callbacks: ____, onStep, ...settings} = options;
  return {
    prompts: `${prompts.length} prompts (${checksumOf(JSON.stringify(prompts))})`,
    rewards: `${functions.length} functions`,
    settings: JSON.stringify(settings),
    'weights of the base': await identityOfBase(model),
  };
}
