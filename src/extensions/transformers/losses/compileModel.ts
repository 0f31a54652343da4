import * as tf from '@tensorflow/tfjs';
import {
  checkOptions,
  kindOf,
  LoRAError,
  misfitError,
  show,
  showShape,
  throwFaults,
  unsupportedError,
} from '../../../platform/errors';
import {type Metric, withName} from '../../../platform/tfjs/metric';
import {stopSteps, takeTargets, trainedIn} from '../../../platform/tfjs/training';
import {unpackTargets, weighObjectives} from '../../../core/training/weightedTargets';
import {checkModel} from '../../../core/rewire/walk';
import {hubClassOf, hubHeadOf, hubRecordOf} from '../net/hubRecord';
import {outputActivation} from '../net/outputActivation';
import {crossEntropyFromLogits} from '../ops/crossEntropy';
import {ctcSettings, meanCTCLoss} from '../ops/ctc';
import {checkClassLoss, type ClassLossOptions, type CrossEntropyOptions} from '../ops/weightedCrossEntropy';
import {lossOfHead} from './chunkedLoss';
import {pairLoss, sigmoidPairLoss} from './contrastive';
import {METRICS, type MetricName, metricsIn} from './metrics';
import {outputHead} from './outputHead';
import {SPAN_METRICS, spanCrossEntropy} from './spans';

/** The name of a loss. */
export type LossName = 'crossEntropy' | 'ctc' | 'spans' | 'pairs' | 'sigmoidPairs';

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

/** A loss with a name. */
interface Loss {
  lossFor: (model: tf.LayersModel) => (targets: tf.Tensor, outputs: tf.Tensor, options: ClassLossOptions) => tf.Tensor;
  /** The options that it takes besides `ignoreIndex`. */
  takes: readonly (keyof ClassLossOptions | 'weighted')[];
  /** Whether it computes the softmax itself. */
  takesLogits: boolean;
  /** Metrics by their names, and the word for their targets in errors. */
  metrics: Readonly<Partial<Record<MetricName, (options: CrossEntropyOptions) => Metric>>>;
  targets: string;
  /** The expected output, for errors. */
  output: string;
  fits: (shape: tf.Shape) => boolean;
  /** The shape of targets; null for any. Default: that of the output. tfjs makes a list of numbers `[batch, 1]`. */
  targetShape?: (shape: tf.Shape) => tf.Shape | null;
}

const PAIRS = {
  takes: [],
  takesLogits: false,
  metrics: {},
  targets: 'pairs',
  output: 'of similarities, [pairs, pairs]',
  fits: isMatrix,
} as const;

const LOSSES: Readonly<Record<LossName, Loss>> = {
  crossEntropy: {
    lossFor: () => crossEntropyFromLogits,
    takes: ['labelSmoothing', 'focalGamma', 'classWeights', 'weighted'],
    takesLogits: true,
    metrics: METRICS,
    targets: 'class indices',
    output: 'of logits, [batch, classes] or [batch, positions, classes]',
    fits: shape => shape.length >= 2,
    targetShape: shape => (shape.length === 2 ? [shape[0] ?? null, 1] : shape.slice(0, -1)),
  },
  ctc: {
    lossFor: ctcOf,
    takes: [],
    takesLogits: true,
    metrics: {},
    targets: 'transcripts',
    output: 'of logits, [batch, frames, classes]',
    fits: shape => shape.length === 3,
    targetShape: () => null, // of another length than the output
  },
  spans: {
    lossFor: () => spanCrossEntropy,
    takes: ['labelSmoothing', 'focalGamma', 'weighted'],
    takesLogits: true,
    metrics: SPAN_METRICS,
    targets: 'spans',
    output: '[batch, positions, 2], a start and an end',
    fits: isSpans,
    targetShape: ([batch]) => [batch ?? null, 2],
  },
  pairs: {...PAIRS, lossFor: () => pairLoss},
  sigmoidPairs: {...PAIRS, lossFor: () => sigmoidPairLoss},
};

/** Losses of tfjs for outputs that end in an activation. */
const FITTING_LOSSES: Readonly<Record<string, string>> = {
  softmax: 'sparseCategoricalCrossentropy',
  sigmoid: 'binaryCrossentropy',
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
 *     or because a model of the hub has no head and no loss is named; `ERR_OPTION` if an option or metric is unknown.
 * @example
 *     compileModel(model, {optimizer: adam({learningRate: 2e-4}), metrics: ['accuracy']});
 *     await model.fit([inputIds, attentionMask], tf.tensor1d([0, 2, 1]));
 * @experimental
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
  const shapes = model.outputs.map(output => output.shape);
  const name = loss ?? lossOf(model);
  if (!Object.hasOwn(LOSSES, name)) {
    throw new LoRAError(
      `loss must be a function or one of ${Object.keys(LOSSES).map(show).join(', ')}, got ` +
        `${typeof loss === 'string' ? show(loss) : kindOf(loss)}.`,
    );
  }
  const {lossFor, takes, takesLogits, targets, output, fits, targetShape} = LOSSES[name];
  checkTaken(options, takes, `the loss ${show(name)}`);
  if (ignoreIndex !== undefined && !takesLogits) {
    throw new LoRAError(`ignoreIndex does not apply to the loss ${show(name)}.`);
  }
  const others = name === 'crossEntropy' ? ['topKAccuracy({k})'] : [];
  const measures = metricsIn(LOSSES[name].metrics, given, ignored, {targets, others});
  const [shape] = shapes;
  if (shape === undefined || shapes.length > 1 || !fits(shape)) {
    throw misfitError(`The model must have one output ${output}, got ${shapes.map(showShape).join(', ')}.`);
  }
  checkLogits(model, name, loss === undefined);
  const compute = lossFor(model);
  const rank = targetShape?.(shape)?.length ?? shape.length;
  const unpacked = (given: tf.Tensor) => (weighted ? unpackTargets(given, rank) : {ys: given});
  const head = name === 'crossEntropy' ? outputHead(trainedIn(model)) : undefined;
  const ofHead = head && lossOfHead(head, measures, rest);
  let isStopped = () => false;
  model.compile({
    optimizer,
    loss: (given, outputs) => {
      const {ys, ...weights} = unpacked(given);
      return ofHead && isStopped()
        ? ofHead.loss(ys, outputs as tf.Tensor3D, weights)
        : compute(ys, outputs, {...rest, ...weights});
    },
    metrics: measures.map((measure, i) =>
      withName(measure.name, (given, outputs) => {
        const {ys} = unpacked(given);
        return ofHead && isStopped() ? ofHead.metric(i, ys, outputs as tf.Tensor3D) : measure(ys, outputs);
      }),
    ),
  });
  if (head !== undefined) {
    isStopped = stopSteps(trainedIn(model), head.states);
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

/** @throws LoRAError if a loss of logits would get states, or what an activation makes of logits. */
function checkLogits(model: tf.LayersModel, loss: LossName, isDefault: boolean): void {
  const [output] = model.outputs;
  if (output === undefined || !LOSSES[loss].takesLogits) {
    return;
  }
  const head = isDefault ? hubHeadOf(model) : undefined;
  if (head === 'none' || head === 'projection') {
    throw misfitError(
      `The model is a ${hubClassOf(model)} without a head: its output, ${showShape(output.shape)}, is not logits. ` +
        'Load it with a new head, loadTransformer(…, {labels: 2}), put one on it with replaceHead, or choose another ' +
        'loss. If its outputs are logits, name the loss: ' +
        `{loss: ${show(loss)}}.`,
    );
  }
  const end = outputActivation(output);
  if (end !== undefined) {
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
}

/** @throws LoRAError if the config has no padding token, or nothing supplies the loss. */
function ctcOf(model: tf.LayersModel): ReturnType<Loss['lossFor']> {
  const settings = ctcSettings((hubRecordOf(model)?.config ?? {}) as Record<string, unknown>);
  if (settings === undefined) {
    throw unsupportedError('The config of the model has no pad_token_id, the blank of CTC.');
  }
  const loss = meanCTCLoss(settings);
  return (targets, logits, {ignoreIndex = -100}) => loss(targets, logits, ignoreIndex);
}

/** The loss of a model of the hub, by its class. A replaced head has other outputs. */
function lossOf(model: tf.LayersModel): LossName {
  const className = hubClassOf(model);
  const shape = model.outputs[0]?.shape ?? [];
  if (className.endsWith('ForQuestionAnswering') && isSpans(shape)) {
    return 'spans';
  }
  if (className.endsWith('ForCTC')) {
    return 'ctc';
  }
  const isPairs = shape.length === 2 && shape[1] === null;
  return isPairs && className === 'CLIPModel'
    ? 'pairs'
    : isPairs && ['SiglipModel', 'Siglip2Model'].includes(className)
      ? 'sigmoidPairs'
      : 'crossEntropy';
}
