import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show, showShape, throwFaults} from '../../platform/errors';
import {type Metric, withName} from '../../platform/tfjs/metric';
import {stopSteps, takeTargets, trainedIn} from '../../platform/tfjs/training';
import {outputActivation} from '../head/outputActivation';
import {checkClassLoss, type ClassLossOptions} from '../ops/weightedCrossEntropy';
import {checkModel} from '../rewire/walk';
import {defaultLoss, type Loss, lossNamed, type LossName} from './losses';
import {METRICS, type MetricName, metricsIn} from './metrics';
import {unpackTargets, weighObjectives} from './weightedTargets';

/** Options of `compileModel`. */
export interface CompileModelOptions extends Omit<ClassLossOptions, 'weights'> {
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
  /** The name of a loss, or a function of targets and outputs. Default: the loss of the model's head. */
  loss?: LossName | ((targets: tf.Tensor, outputs: tf.Tensor) => tf.Tensor);
  /**
   * Whether examples or positions have weights: targets are then made by `weightTargets(ys, weights)`. A function as
   * loss must return a value for each example. Metrics are not weighted. Default: false.
   */
  weighted?: boolean;
  /**
   * Logged in addition to the loss: `'accuracy'` (`acc`, `val_acc`), `'f1'`, `'perplexity'`, or functions such as
   * `topKAccuracy({k: 5})`. Spans have `'accuracy'` and `'f1'`, pairs only functions. Those with a name leave out
   * `ignoreIndex` as the loss does; a function has its own.
   */
  metrics?: MetricName | Metric | readonly (MetricName | Metric)[];
}

/** Losses of tfjs for outputs that end in an activation. */
const FITTING_LOSSES: Readonly<Record<string, string>> = {
  softmax: 'sparseCategoricalCrossentropy',
  sigmoid: 'binaryCrossentropy',
};

/**
 * Compiles a model with the loss of its head, for `fit` and `evaluate`. Targets are:
 *
 * - classes or choices, logits `[batch, classes]`: class indices, `[batch]`
 * - classes of tokens or the vocabulary, logits `[batch, positions, classes]`: class indices, `[batch, positions]`,
 *   with `ignoreIndex` where none counts; of positions of images, `[batch, rows, columns, classes]`, alike
 * - characters of speech (`…ForCTC`), logits `[batch, frames, characters]`: the characters of each transcript, `[batch,
 *   length]`, with `ignoreIndex` at the end of shorter ones; `encodeTranscripts` of `tfjs-lora/sound` makes them. Each
 *   loss is divided by the length of its transcript
 * - spans (`…ForQuestionAnswering`), logits `[batch, positions, 2]`: first and last position, `[batch, 2]`
 * - pairs (`CLIPModel`, `SiglipModel`, `Siglip2Model`), similarities `[images, texts]`: any tensor of that shape,
 *   because pairs are in the same row
 *
 * The head of a model of the hub is known by its class; for other models, the output must be logits. An output that
 * ends in an activation, such as the softmax of `replaceHead(base, 10)`, is refused, except for pairs and functions.
 *
 * @param model with one output; adapted or not.
 * @param options the optimizer, metrics, another loss, weights, label smoothing or focal loss, and the target that
 *     does not count.
 * @throws LoRAError `ERR_MISFIT` if the output does not fit the loss: by its shape, because it ends in an activation,
 *     or because a model of the hub has no head and no loss is named; `ERR_OPTION` if an option or metric is unknown or
 *     there is no optimizer; `ERR_UNSUPPORTED` if the entry point with the loss is not imported.
 * @example
 *     compileModel(model, {optimizer: adam({learningRate: 2e-4}), metrics: ['accuracy']});
 *     await model.fit([inputIds, attentionMask], tf.tensor1d([0, 2, 1]));
 */
export function compileModel(model: tf.LayersModel, options: CompileModelOptions): void {
  checkOptions(options, {
    optimizer: true,
    loss: true,
    ignoreIndex: true,
    labelSmoothing: true,
    focalGamma: true,
    classWeights: true,
    weighted: true,
    metrics: true,
  });
  checkModel(model);
  const {optimizer, loss, metrics = [], weighted = false, ...rest} = options;
  const {ignoreIndex} = rest;
  const ignored = ignoreIndex === undefined ? {} : {ignoreIndex};
  const given = [metrics].flat<(MetricName | Metric | readonly (MetricName | Metric)[])[]>();
  if ((optimizer as unknown) == null) {
    throw new LoRAError('compileModel needs an optimizer, such as {optimizer: adam({learningRate: 1e-3})}.');
  }
  checkClassLoss(rest);
  if (typeof loss === 'function') {
    checkTaken(options, ['weighted'], 'a function as loss');
    if (ignoreIndex !== undefined && !given.some(each => typeof each === 'string')) {
      throw new LoRAError('ignoreIndex does not apply to a function, as loss or as metric, which has its own.');
    }
    model.compile({optimizer, loss, metrics: metricsIn(METRICS, given, ignored, {targets: 'class indices'})});
    if (weighted) {
      weighObjectives(model);
    }
    return;
  }
  const name = loss ?? defaultLoss(model);
  const {lossFor, takes, takesLogits, targets, otherMetrics, output, fits, targetShape, ofHead, ...named} =
    lossNamed(name);
  checkTaken(options, takes, `the loss ${show(name)}`);
  if (ignoreIndex !== undefined && !takesLogits) {
    throw new LoRAError(`ignoreIndex does not apply to the loss ${show(name)}.`);
  }
  const measures = metricsIn(named.metrics, given, ignored, {targets, others: otherMetrics});
  const shapes = model.outputs.map(output => output.shape);
  const [shape] = shapes;
  if (shape === undefined || shapes.length > 1 || !fits(shape)) {
    throw misfitError(`The model must have one output ${output}, got ${shapes.map(showShape).join(', ')}.`);
  }
  if (takesLogits) {
    checkEnd(model, name);
  }
  const compute = lossFor(model);
  const rank = targetShape?.(shape)?.length ?? shape.length;
  const unpacked = (given: tf.Tensor) => (weighted ? unpackTargets(given, rank) : {ys: given});
  const stopped = ofHead?.(trainedIn(model), measures, rest);
  let isStopped = () => false;
  model.compile({
    optimizer,
    loss: (given, outputs) => {
      const {ys, ...weights} = unpacked(given);
      return stopped && isStopped()
        ? stopped.loss(ys, outputs as tf.Tensor3D, weights)
        : compute(ys, outputs, {...rest, ...weights});
    },
    metrics: measures.map((measure, i) =>
      withName(measure.name, (given, outputs) => {
        const {ys} = unpacked(given);
        return stopped && isStopped() ? stopped.metric(i, ys, outputs as tf.Tensor3D) : measure(ys, outputs);
      }),
    ),
  });
  if (stopped !== undefined) {
    isStopped = stopSteps(trainedIn(model), stopped.states);
  }
  if (weighted) {
    takeTargets(model, null);
  } else if (targetShape !== undefined) {
    // tfjs requires targets of the shape of the output, except for its own loss from probabilities.
    takeTargets(model, targetShape(shape));
  }
}

/** @throws LoRAError if an option is given that a loss does not take. */
function checkTaken(options: CompileModelOptions, takes: Loss['takes'], loss: string): void {
  const isGiven = (name: Loss['takes'][number]) => name !== 'weights' && Boolean(options[name]);
  throwFaults(
    (['labelSmoothing', 'focalGamma', 'classWeights', 'weighted'] as const)
      .filter(name => isGiven(name) && !takes.includes(name))
      .map(name => `${name} does not apply to ${loss}.`),
  );
}

/** @throws LoRAError if a loss of logits would get what an activation makes of them. */
function checkEnd(model: tf.LayersModel, loss: LossName): void {
  const [output] = model.outputs;
  const end = output && outputActivation(output);
  if (output === undefined || end === undefined) {
    return;
  }
  const {layer, activation} = end;
  const fitting = FITTING_LOSSES[activation.toLowerCase()];
  throw misfitError(
    `The loss ${show(loss)} takes logits, but the output of the model ends in the activation ${activation} of ` +
      `layer "${layer}". Give the model a head without an activation: ` +
      `replaceHead(base, [tf.layers.dense({units: ${output.shape.at(-1) ?? 'classes'}})]), since a number of ` +
      'classes makes a softmax. Or call model.compile with a loss that fits' +
      `${fitting === undefined ? '' : `, such as ${show(fitting)}`}.`,
  );
}
