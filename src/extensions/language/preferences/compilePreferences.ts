import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {type MetricFunction, withName} from '../../../platform/tfjs/metric';
import {stopSteps, setTargetShape} from '../../../platform/tfjs/training';
import {checkOptimizer} from '../../../core/training/optimizerNames';
import {outputHead} from '../../transformers/losses/outputHead';
import {languageParts} from '../session';
import {type Targets, targetsOf} from './batch';
import {countsOf, sequenceLogProbs} from '../logProbs';
import {
  type AnswerLogProbs,
  kto,
  marginOf,
  numbersOf,
  PAIR_METHODS,
  type PreferenceChoice,
  type PreferenceMethod,
  type PreferenceMethodOptions,
  type PreferenceMetric,
} from './methods';

/**
 * Options of `compilePreferences`: the optimizer, a method with its numbers, and metrics.
 *
 * - `method` is how the model learns. Pairs: `'dpo'`, `'ipo'`, `'hinge'` (SLiC), and without a reference `'orpo'`,
 *   `'simpo'`. Judged answers: `'kto'`. Default: `'dpo'`.
 * - `metrics` are logged in addition to the loss, one or a list: `'accuracy'` (`acc`), the share of pairs whose chosen
 *   answer has the higher reward, and `'margin'`, the mean difference of the rewards. For judged answers, there is only
 *   `'margin'`.
 */
export type CompilePreferencesOptions = PreferenceChoice & {
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
};

/** The loss of a batch, and what metrics are made of. */
interface Outcome {
  readonly loss: tf.Scalar;
  readonly accuracy?: tf.Tensor;
  readonly margin: tf.Tensor;
}

/**
 * Compiles a language model to learn from preferences with `fitDataset`, from the batches of `encodePreferences`. The
 * reward of an answer is `beta` times its log-probability minus that by the reference, and for `'orpo'` and `'simpo'`
 * `beta` times its mean log-probability per token. The methods, their options and defaults are those of TRL.
 *
 * @param model a model of `loadGGUF` or `loadTransformer` with a head for the next token, adapted or not.
 * @param options the method, its settings, the optimizer and metrics.
 * @throws LoRAError `ERR_MISFIT` if the model is no language model; `ERR_OPTION` if there is no such method, metric or
 *     option, or a number is out of range. Training throws `ERR_MISFIT` for batches that the method cannot use.
 * @example
 *     compilePreferences(adapted, {method: 'dpo', optimizer: adam({learningRate: 5e-5}), metrics: ['accuracy']});
 *     await adapted.fitDataset(data, {epochs: 2});
 * @experimental
 */
export function compilePreferences(model: tf.LayersModel, options: CompilePreferencesOptions): void {
  checkOptions(
    options,
    {
      ...{method: true, optimizer: true, metrics: true, beta: true, labelSmoothing: true},
      ...{simpoGamma: true, cpoAlpha: true, desirableWeight: true, undesirableWeight: true},
    },
    "compilePreferences(model, {method: 'dpo', optimizer: adam()})",
  );
  const {method = 'dpo', optimizer, metrics = [], ...methodOptions} = options;
  checkOptimizer(optimizer);
  const numbers = numbersOf(method, methodOptions);
  const allowed = method === 'kto' ? ['margin'] : ['accuracy', 'margin'];
  const wrong = [metrics].flat().find(name => !allowed.includes(name));
  if (wrong !== undefined) {
    throw new LoRAError(
      `There is no metric ${show(wrong)} for method ${show(method)}. There is ${allowed.join(' and ')}.`,
    );
  }
  languageParts(model);
  const head = outputHead(model);
  let isStopped = () => false;
  const compute = (targets: tf.Tensor, outputs: tf.Tensor): Outcome => {
    const read = readTargets(targets, outputs as tf.Tensor3D, method);
    const sums = (wanted: readonly tf.Tensor2D[]) =>
      sequenceLogProbs(wanted, outputs as tf.Tensor3D, isStopped() ? head : undefined);
    return method === 'kto' ? judgedOutcome(read, sums, numbers) : pairOutcome(read, sums, method, numbers);
  };
  // tfjs calls the loss and then the metrics with the same outputs.
  let latest: {outputs: tf.Tensor; outcome: Outcome} | undefined;
  const outcomeOf = (targets: tf.Tensor, outputs: tf.Tensor): Outcome => {
    if (latest?.outputs !== outputs || latest.outcome.margin.isDisposed) {
      latest = {outputs, outcome: compute(targets, outputs)};
    }
    return latest.outcome;
  };
  const measures: Record<PreferenceMetric, MetricFunction> = {
    accuracy: withName('acc', (targets, outputs) => tf.clone(outcomeOf(targets, outputs).accuracy as tf.Tensor)),
    margin: withName('margin', (targets, outputs) => tf.clone(outcomeOf(targets, outputs).margin)),
  };
  model.compile({
    optimizer,
    loss: (targets, outputs) => outcomeOf(targets, outputs).loss,
    metrics: [metrics].flat().map(name => measures[name]),
  });
  setTargetShape(model, [null, null]);
  if (head !== undefined) {
    isStopped = stopSteps(model, head.states);
  }
}

/** @throws LoRAError if these are no batches of `encodePreferences` that the method can use. */
function readTargets(ys: tf.Tensor, {shape}: tf.Tensor3D, method: PreferenceMethod): Targets {
  const [rows, positions] = shape;
  const [targetRows, width = 0] = ys.shape;
  const targets = targetsOf(ys as tf.Tensor2D, positions);
  if (ys.rank !== 2 || targetRows !== rows || width <= positions || width > positions + 3 || rows % 2 !== 0) {
    throw misfitError(
      `The targets must be those of encodePreferences, got ${showShape(ys.shape)} for ${rows} texts of ${positions} tokens.`,
    );
  }
  if (targets.isJudged !== (method === 'kto')) {
    throw misfitError(
      method === 'kto'
        ? 'Method "kto" learns from records {prompt, completion, label}, but these batches are pairs.'
        : `Method ${show(method)} learns from pairs {prompt, chosen, rejected}, but these batches are answers with a label. Use "kto".`,
    );
  }
  const needsReference = method === 'kto' || PAIR_METHODS[method].needsReference;
  if (needsReference && !targets.hasReference) {
    throw misfitError(`Method ${show(method)} needs a reference, but encodePreferences had reference: 'none'.`);
  }
  return targets;
}

/** The sums of log-probabilities for each of the targets, `[rows]`. */
type SumsOf = (targets: readonly tf.Tensor2D[]) => tf.Tensor1D[];

function inRows(targets: Targets, sums: tf.Tensor1D, answers: tf.Tensor2D): [AnswerLogProbs, AnswerLogProbs] {
  const [even, odd] = inTwo(sums);
  const lengths = inTwo(countsOf(answers));
  const references = targets.hasReference ? inTwo(targets.references()) : [tf.zerosLike(even), tf.zerosLike(odd)];
  return [even, odd].map((sums, i) => ({
    sums,
    lengths: lengths[i] as tf.Tensor1D,
    reference: references[i] as tf.Tensor1D,
  })) as [AnswerLogProbs, AnswerLogProbs];
}

/** Splits values of rows into those of even and of odd rows. */
function inTwo(values: tf.Tensor1D): [even: tf.Tensor1D, odd: tf.Tensor1D] {
  return tf.unstack(tf.reshape(values, [-1, 2]), 1) as [tf.Tensor1D, tf.Tensor1D];
}

function pairOutcome(
  targets: Targets,
  sumsOf: SumsOf,
  method: Exclude<PreferenceMethod, 'kto'>,
  numbers: Required<PreferenceMethodOptions>,
): Outcome {
  const {needsPrompts = false, compute} = PAIR_METHODS[method];
  const answers = targets.answers();
  const prompts = needsPrompts ? [targets.prompts()] : [];
  const [sums, ofPrompts] = sumsOf([answers, ...prompts]) as [tf.Tensor1D, tf.Tensor1D?];
  const [chosen, rejected] = inRows(targets, sums, answers);
  const wholeMean = (): tf.Scalar => {
    const [more] = inTwo(ofPrompts as tf.Tensor1D);
    const [lengths] = inTwo(countsOf(prompts[0] as tf.Tensor2D));
    return tf.div(tf.sum(tf.add(chosen.sums, more)), tf.sum(tf.add(chosen.lengths, lengths)));
  };
  const outcome = compute({chosen, rejected, wholeMean}, numbers);
  return {
    loss: outcome.loss,
    accuracy: tf.mean(tf.cast(tf.greater(outcome.chosen, outcome.rejected), 'float32')),
    margin: tf.mean(tf.sub(outcome.chosen, outcome.rejected)),
  };
}

function judgedOutcome(targets: Targets, sumsOf: SumsOf, numbers: Required<PreferenceMethodOptions>): Outcome {
  const answerTargets = targets.answers();
  const [sums] = sumsOf([answerTargets]) as [tf.Tensor1D];
  const [answers, mismatched] = inRows(targets, sums, answerTargets);
  const [labels] = inTwo(targets.labels());
  const {loss, rewards} = kto({answers, mismatched, labels}, numbers);
  return {loss, margin: marginOf(rewards, labels)};
}
