import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import type {Metric} from '../../../platform/tfjs/metric';
import {takeTargets} from '../../../platform/tfjs/training';
import {checkModel} from '../../../core/rewire/walk';
import {hubRecordOf} from '../net/hubRecord';
import {type CrossEntropyOptions, crossEntropyFromLogits} from '../ops/crossEntropy';
import {pairLoss, sigmoidPairLoss} from './contrastive';
import {METRICS, type MetricName, metricsIn} from './metrics';
import {SPAN_METRICS, spanCrossEntropy} from './spans';

/** The name of a loss. */
export type LossName = 'crossEntropy' | 'spans' | 'pairs' | 'sigmoidPairs';

/** Options of `compileModel`. */
export interface CompileModelOptions extends CrossEntropyOptions {
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
  /** The name of a loss, or a function of targets and outputs. Default: the loss of the model's head. */
  loss?: LossName | ((targets: tf.Tensor, outputs: tf.Tensor) => tf.Tensor);
  /**
   * What is logged beside the loss: `'accuracy'` (`acc`, `val_acc`), `'f1'`, `'perplexity'`, or functions such as
   * `topKAccuracy({k: 5})`. Spans have `'accuracy'` and `'f1'`, pairs only functions. Those with a name leave out
   * `ignoreIndex` as the loss does; a function has its own.
   */
  metrics?: MetricName | Metric | readonly (MetricName | Metric)[];
}

/** A loss with a name. */
interface Loss {
  compute: (targets: tf.Tensor, outputs: tf.Tensor, options: CrossEntropyOptions) => tf.Tensor;
  /** Metrics by their names, and the word for their targets in errors. */
  metrics: Readonly<Partial<Record<MetricName, (options: CrossEntropyOptions) => Metric>>>;
  targets: string;
  /** The expected output, for errors. */
  output: string;
  fits: (shape: tf.Shape) => boolean;
  /** The shape of targets. Default: that of the output. tfjs makes a list of numbers `[batch, 1]`. */
  targetShape?: (shape: tf.Shape) => tf.Shape;
}

const PAIRS = {metrics: {}, targets: 'pairs', output: 'of similarities, [pairs, pairs]', fits: isMatrix} as const;

const LOSSES: Readonly<Record<LossName, Loss>> = {
  crossEntropy: {
    compute: crossEntropyFromLogits,
    metrics: METRICS,
    targets: 'class indices',
    output: 'of logits, [batch, classes] or [batch, positions, classes]',
    fits: shape => shape.length >= 2,
    targetShape: shape => (shape.length === 2 ? [shape[0] ?? null, 1] : shape.slice(0, -1)),
  },
  spans: {
    compute: spanCrossEntropy,
    metrics: SPAN_METRICS,
    targets: 'spans',
    output: '[batch, positions, 2], a start and an end',
    fits: isSpans,
    targetShape: ([batch]) => [batch ?? null, 2],
  },
  pairs: {...PAIRS, compute: pairLoss},
  sigmoidPairs: {...PAIRS, compute: sigmoidPairLoss},
};

function isMatrix(shape: tf.Shape): boolean {
  return shape.length === 2;
}

function isSpans(shape: tf.Shape): boolean {
  return shape.length === 3 && shape[2] === 2;
}

/**
 * Compiles a model with the loss of its head, for `fit` and `evaluate`. Targets are:
 *
 * - classes or choices, logits `[batch, classes]`: class indices, `[batch]`
 * - classes of tokens or the vocabulary, logits `[batch, positions, classes]`: class indices, `[batch, positions]`,
 *   with `ignoreIndex` where none counts
 * - spans (`…ForQuestionAnswering`), logits `[batch, positions, 2]`: first and last position, `[batch, 2]`
 * - pairs (`CLIPModel`, `SiglipModel`), similarities `[images, texts]`: anything of that shape, since what belongs
 *   together is in the same row
 *
 * The head of a model of the hub is known by its class; any other model is taken to give logits.
 *
 * @param model with one output; adapted or not.
 * @param options the optimizer, metrics, another loss, and the target that does not count.
 * @throws LoRAError `ERR_MISFIT` if the output does not fit the loss; `ERR_OPTION` if an option or metric is unknown.
 * @example
 *     compileModel(model, {optimizer: adam({learningRate: 2e-4}), metrics: ['accuracy']});
 *     await model.fit([inputIds, attentionMask], tf.tensor1d([0, 2, 1]));
 * @experimental
 */
export function compileModel(model: tf.LayersModel, options: CompileModelOptions): void {
  checkOptions(options, {optimizer: true, loss: true, ignoreIndex: true, metrics: true});
  checkModel(model);
  const {optimizer, loss, metrics = [], ...rest} = options;
  const given = [metrics].flat<(MetricName | Metric | readonly (MetricName | Metric)[])[]>();
  if (typeof loss === 'function') {
    model.compile({optimizer, loss, metrics: metricsIn(METRICS, given, rest, {targets: 'class indices'})});
    return;
  }
  const shapes = model.outputs.map(output => output.shape);
  const name = loss ?? lossOf(model);
  if (!Object.hasOwn(LOSSES, name)) {
    throw new LoRAError(
      `loss must be a function or one of ${Object.keys(LOSSES).map(show).join(', ')}, got ` +
        `${typeof loss === 'string' ? show(loss) : kindOf(loss)}.`,
    );
  }
  const {compute, targets, output, fits, targetShape} = LOSSES[name];
  const others = name === 'crossEntropy' ? ['topKAccuracy({k})'] : [];
  const measures = metricsIn(LOSSES[name].metrics, given, rest, {targets, others});
  const [shape] = shapes;
  if (shape === undefined || shapes.length > 1 || !fits(shape)) {
    throw misfitError(`The model must have one output ${output}, got ${shapes.map(showShape).join(', ')}.`);
  }
  model.compile({optimizer, loss: (given, outputs) => compute(given, outputs, rest), metrics: measures});
  if (targetShape !== undefined) {
    // tfjs requires targets of the shape of the output, except for its own loss from probabilities.
    takeTargets(model, targetShape(shape));
  }
}

/** The loss of a model of the hub, by its class. A replaced head has other outputs. */
function lossOf(model: tf.LayersModel): LossName {
  const {architectures} = (hubRecordOf(model)?.config ?? {}) as {architectures?: unknown};
  const [className] = [architectures].flat();
  const shape = model.outputs[0]?.shape ?? [];
  if (String(className).endsWith('ForQuestionAnswering') && isSpans(shape)) {
    return 'spans';
  }
  const isPairs = shape.length === 2 && shape[1] === null;
  return isPairs && className === 'CLIPModel'
    ? 'pairs'
    : isPairs && className === 'SiglipModel'
      ? 'sigmoidPairs'
      : 'crossEntropy';
}
