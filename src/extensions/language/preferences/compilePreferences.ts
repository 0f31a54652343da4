import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {type Metric, withName} from '../../../platform/tfjs/metric';
import {takeTargets} from '../../../platform/tfjs/training';
import {languageParts} from '../session';
import {type Targets, targetsOf} from './batch';
import {countsOf, sequenceLogProbs} from './logProbs';
import {
  type AnswerLogProbs,
  kto,
  marginOf,
  type PreferenceMethodOptions,
  numbersOf,
  PAIR_METHODS,
  type PreferenceMethod,
} from './methods';

/** The name of a metric of preferences. */
export type PreferenceMetric = 'accuracy' | 'margin';

/** Options of `compilePreferences`. */
export interface CompilePreferencesOptions extends PreferenceMethodOptions {
  /**
   * How the model learns. Pairs: `'dpo'`, `'ipo'`, `'hinge'` (SLiC), and without a reference `'orpo'`, `'simpo'`.
   * Judged answers: `'kto'`. Default: `'dpo'`.
   */
  method?: PreferenceMethod;
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
  /**
   * What is logged beside the loss: `'accuracy'` (`acc`), the share of pairs whose chosen answer has the higher reward,
   * and `'margin'`, the mean difference of the rewards. Judged answers have `'margin'` alone.
   */
  metrics?: readonly PreferenceMetric[];
}

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
 * @param options the method, its numbers, the optimizer and metrics.
 * @throws LoRAError `ERR_MISFIT` if the model is no language model; `ERR_OPTION` if there is no such method, metric or
 *     option, or a number is out of range. Training throws `ERR_MISFIT` for batches that the method cannot use.
 * @example
 *     compilePreferences(adapted, {method: 'dpo', optimizer: adam({learningRate: 5e-5}), metrics: ['accuracy']});
 *     await adapted.fitDataset(data, {epochs: 2});
 * @experimental
 */
export function compilePreferences(model: tf.LayersModel, options: CompilePreferencesOptions): void {
  checkOptions(options, {
    ...{method: true, optimizer: true, metrics: true, beta: true, labelSmoothing: true},
    ...{simpoGamma: true, cpoAlpha: true, desirableWeight: true, undesirableWeight: true},
  });
  const {method = 'dpo', optimizer, metrics = [], ...given} = options;
  if (typeof optimizer !== 'string' && typeof (optimizer as Partial<tf.Optimizer> | null)?.minimize !== 'function') {
    throw new LoRAError(`optimizer must be a name or an optimizer, such as adamW(), got ${kindOf(optimizer)}.`);
  }
  const numbers = numbersOf(method, given);
  const allowed = method === 'kto' ? ['margin'] : ['accuracy', 'margin'];
  const wrong = [metrics].flat().find(name => !allowed.includes(name));
  if (wrong !== undefined) {
    throw new LoRAError(
      `There is no metric ${show(wrong)} for method ${show(method)}. There is ${allowed.join(' and ')}.`,
    );
  }
  languageParts(model);
  const compute = (targets: tf.Tensor, logits: tf.Tensor): Outcome => {
    const read = readTargets(targets, logits as tf.Tensor3D, method);
    return method === 'kto'
      ? judgedOutcome(read, logits as tf.Tensor3D, numbers)
      : pairOutcome(read, logits as tf.Tensor3D, method, numbers);
  };
  // tfjs calls the loss and then the metrics with the same logits.
  let latest: {logits: tf.Tensor; outcome: Outcome} | undefined;
  const outcomeOf = (targets: tf.Tensor, logits: tf.Tensor): Outcome => {
    if (latest?.logits !== logits || latest.outcome.margin.isDisposed) {
      latest = {logits, outcome: compute(targets, logits)};
    }
    return latest.outcome;
  };
  const measures: Record<PreferenceMetric, Metric> = {
    accuracy: withName('acc', (targets, logits) => tf.clone(outcomeOf(targets, logits).accuracy as tf.Tensor)),
    margin: withName('margin', (targets, logits) => tf.clone(outcomeOf(targets, logits).margin)),
  };
  model.compile({
    optimizer,
    loss: (targets, logits) => outcomeOf(targets, logits).loss,
    metrics: [metrics].flat().map(name => measures[name]),
  });
  takeTargets(model, [null, null]);
}

/** @throws LoRAError if these are no batches of `encodePreferences` that the method can use. */
function readTargets(ys: tf.Tensor, logits: tf.Tensor3D, method: PreferenceMethod): Targets {
  const [rows, positions] = logits.shape;
  const [given, width = 0] = ys.shape;
  const targets = targetsOf(ys as tf.Tensor2D, positions);
  if (ys.rank !== 2 || given !== rows || width <= positions || width > positions + 3 || rows % 2 !== 0) {
    throw misfitError(
      `The targets must be those of encodePreferences, got ${showShape(ys.shape)} for logits ${showShape(logits.shape)}.`,
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

/** The log-probabilities of the even rows, and of the odd rows. */
function logProbsOf(targets: Targets, logits: tf.Tensor3D): [AnswerLogProbs, AnswerLogProbs] {
  const answers = targets.answers();
  const sums = sequenceLogProbs(answers, logits);
  const [even, odd] = inTwo(sums);
  const lengths = inTwo(countsOf(answers));
  const references = targets.hasReference ? inTwo(targets.references()) : [tf.zerosLike(even), tf.zerosLike(odd)];
  return [even, odd].map((each, i) => ({
    sums: each,
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
  logits: tf.Tensor3D,
  method: Exclude<PreferenceMethod, 'kto'>,
  numbers: Required<PreferenceMethodOptions>,
): Outcome {
  const [chosen, rejected] = logProbsOf(targets, logits);
  const wholeMean = (): tf.Scalar => {
    const whole = targets.whole();
    const [sums] = inTwo(sequenceLogProbs(whole, logits));
    const [lengths] = inTwo(countsOf(whole));
    return tf.div(tf.sum(sums), tf.sum(lengths));
  };
  const outcome = PAIR_METHODS[method].compute({chosen, rejected, wholeMean}, numbers);
  return {
    loss: outcome.loss,
    accuracy: tf.mean(tf.cast(tf.greater(outcome.chosen, outcome.rejected), 'float32')),
    margin: tf.mean(tf.sub(outcome.chosen, outcome.rejected)),
  };
}

function judgedOutcome(targets: Targets, logits: tf.Tensor3D, numbers: Required<PreferenceMethodOptions>): Outcome {
  const [answers, mismatched] = logProbsOf(targets, logits);
  const [labels] = inTwo(targets.labels());
  const {loss, rewards} = kto({answers, mismatched, labels}, numbers);
  return {loss, margin: marginOf(rewards, labels)};
}
