import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, misfitError, show, showShape, throwFaults} from '../../platform/errors';
import {type MetricFunction, withName} from '../../platform/tfjs/metric';
import {stopSteps, setTargetShape, trainedIn} from '../../platform/tfjs/training';
import {outputActivation} from '../head/outputActivation';
import {checkClassLoss} from '../ops/weightedCrossEntropy';
import {checkModel} from '../../platform/tfjs/checkModel';
import {CLASS_LOSS} from './classLoss';
import {
  addedLoss,
  defaultLoss,
  isOfKeras,
  type Loss,
  type LossName,
  lossOfHead,
  type LossOptions,
  type ModelLoss,
} from './losses';
import {checkKerasMetrics, type MetricName, metricsIn, metricsOfFunction} from './metrics';
import {checkOptimizer} from './optimizerNames';
import {unpackTargets, weighObjectives} from './weightedTargets';

/** Options of `compileModel`. */
export interface CompileModelOptions extends Omit<LossOptions, 'weights'> {
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
  /**
   * The name of a loss, or a function of targets and outputs. Default: the loss of the model's head. A model of several
   * outputs takes a list of functions and losses of Keras, or an object of them by the names of the outputs.
   */
  loss?: ModelLoss;
  /**
   * Whether examples or positions have weights, with which tfjs alone cannot train: targets are then made by
   * `withSampleWeights(ys, weights)`. A function as loss must return the loss of each example, `[batch]` or `[batch,
   * …positions]`, not their mean. Metrics are not weighted. Default: false.
   */
  weighted?: boolean;
  /**
   * Logged in addition to the loss: `'accuracy'` (`acc`, `val_acc`), `'f1'`, `'perplexity'`, or functions such as
   * `accuracy({topK: 5})`. Spans have `'accuracy'` and `'f1'`, pairs and rankings only functions. Those with a name
   * leave out `ignoreIndex` as the loss does; a function has its own. A loss of Keras has the metrics of
   * `model.compile`, also by the names of the outputs; a function as loss has both.
   */
  metrics?:
    | MetricName
    | MetricFunction
    | readonly (MetricName | MetricFunction)[]
    | Readonly<Record<string, MetricName | MetricFunction>>;
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
 * - embeddings of texts (with `{loss: 'ranking'}`), `[texts, width]`: made by `encodePairs` of
 *   `tfjs-lora/transformers`. Each anchor has to find its positive among those of the batch and all negatives
 * - other outputs: as `model.compile` takes them, with a loss of Keras or a function
 *
 * The head of a model of the hub is known by its class; for other models, the output must be logits. An output that
 * ends in an activation, such as the softmax of `replaceHead(base, 10)`, is refused, except for pairs, functions and
 * losses of Keras.
 *
 * With `weighted`, the loss of a batch of n examples is that of Keras, `(w₁·l₁ + … + wₙ·lₙ) / n`, for functions and
 * losses of Keras; other losses are divided by the number of positions that count.
 *
 * @param model adapted or not; of one output, unless functions or losses of Keras are given.
 * @param options the optimizer, metrics, another loss, weights, label smoothing or focal loss, and the target that
 *     does not count.
 * @throws LoRAError `ERR_MISFIT` if the output does not fit the loss: by its shape, because it ends in an activation,
 *     or because a model of the hub has no head and no loss is named; while training, if targets have no weights or a
 *     weighted loss returns a mean; `ERR_OPTION` if an option, loss or metric is unknown or there is no optimizer;
 *     `ERR_UNSUPPORTED` if the entry point with the loss is not imported.
 * @example
 *     compileModel(model, {optimizer: adam({learningRate: 2e-4}), metrics: ['accuracy']});
 *     await model.fit([inputIds, attentionMask], tf.tensor1d([0, 2, 1]));
 */
export function compileModel(model: tf.LayersModel, options: CompileModelOptions): void {
  checkOptions(
    options,
    {
      optimizer: true,
      loss: true,
      ignoreIndex: true,
      labelSmoothing: true,
      focalGamma: true,
      classWeights: true,
      scale: true,
      weighted: true,
      metrics: true,
    },
    'compileModel(model, {optimizer: adam({learningRate: 1e-3})})',
  );
  checkModel(model);
  const {optimizer, loss, metrics = [], weighted = false, ...compileArgs} = options;
  const {ignoreIndex} = compileArgs;
  const ignored = ignoreIndex === undefined ? {} : {ignoreIndex};
  if ((optimizer as unknown) == null) {
    throw new LoRAError('compileModel needs an optimizer, such as {optimizer: adam({learningRate: 1e-3})}.');
  }
  checkOptimizer(optimizer);
  checkClassLoss(compileArgs);
  const {scale = 1} = compileArgs;
  checkNumber('scale', scale, scale > 0, 'a positive number');
  if (isOfKeras(loss)) {
    checkTaken(options, ['weighted'], 'a loss of Keras');
    if (ignoreIndex !== undefined) {
      throw new LoRAError('ignoreIndex does not apply to a loss of Keras.');
    }
    checkKerasMetrics(metrics);
    compilePlain(model, {optimizer, loss, metrics}, weighted);
    return;
  }
  const metricList = listOf(metrics);
  if (typeof loss === 'function') {
    checkTaken(options, ['weighted'], 'a function as loss');
    if (ignoreIndex !== undefined && !metricList.some(metric => typeof metric === 'string')) {
      throw new LoRAError('ignoreIndex does not apply to a function, as loss or as metric, which has its own.');
    }
    compilePlain(model, {optimizer, loss, metrics: metricsOfFunction(metricList, ignored)}, weighted);
    return;
  }
  const name = (loss as LossName | undefined) ?? defaultLoss(model);
  const {lossFor, takes, takesLogits, targets, otherMetrics, output, fits, targetShape, ...named} =
    name === 'crossEntropy' ? CLASS_LOSS : addedLoss(name);
  checkTaken(options, takes, `the loss ${show(name)}`);
  if (ignoreIndex !== undefined && !takesLogits) {
    throw new LoRAError(`ignoreIndex does not apply to the loss ${show(name)}.`);
  }
  const measures = metricsIn(named.metrics, metricList, ignored, {targets, alternatives: otherMetrics});
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
  const unpacked = (packed: tf.Tensor) => (weighted ? unpackTargets(packed, rank) : {ys: packed});
  const stopped = name === 'crossEntropy' ? lossOfHead(trainedIn(model), measures, compileArgs) : undefined;
  let isStopped = () => false;
  model.compile({
    optimizer,
    loss: (packedTargets, outputs) => {
      const {ys, ...weights} = unpacked(packedTargets);
      return stopped && isStopped()
        ? stopped.loss(ys, outputs as tf.Tensor3D, weights)
        : compute(ys, outputs, {...compileArgs, ...weights});
    },
    metrics: measures.map((measure, i) =>
      withName(measure.name, (packedTargets, outputs) => {
        const {ys} = unpacked(packedTargets);
        return stopped && isStopped() ? stopped.metric(i, ys, outputs as tf.Tensor3D) : measure(ys, outputs);
      }),
    ),
  });
  if (stopped !== undefined) {
    isStopped = stopSteps(trainedIn(model), stopped.states);
  }
  if (weighted) {
    setTargetShape(model, null);
  } else if (targetShape !== undefined) {
    // tfjs requires targets of the shape of the output, except for its own loss from probabilities.
    setTargetShape(model, targetShape(shape));
  }
}

/** Compiles a model with what tfjs computes. */
function compilePlain(model: tf.LayersModel, args: tf.ModelCompileArgs, isWeighted: boolean): void {
  model.compile(args);
  if (isWeighted) {
    weighObjectives(model);
  }
}

/** @throws LoRAError if metrics are listed by outputs. */
function listOf(metrics: NonNullable<CompileModelOptions['metrics']>): readonly (MetricName | MetricFunction)[] {
  if (typeof metrics === 'object' && !Array.isArray(metrics)) {
    throw new LoRAError('metrics by output are for losses of Keras. Pass a metric or a list of metrics.');
  }
  return [metrics].flat() as readonly (MetricName | MetricFunction)[];
}

/** @throws LoRAError if an option is given that a loss does not take. */
function checkTaken(options: CompileModelOptions, takes: Loss['takes'], loss: string): void {
  const isGiven = (name: Loss['takes'][number]) => name !== 'weights' && Boolean(options[name]);
  throwFaults(
    (['labelSmoothing', 'focalGamma', 'classWeights', 'scale', 'weighted'] as const)
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
