import type * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, show, unsupportedError} from '../../platform/errors';
import type {MetricFunction} from '../../platform/tfjs/metric';
import type {ClassLossOptions, CrossEntropyOptions} from '../ops/weightedCrossEntropy';
import type {MetricName} from './metrics';

/** Losses of Keras, which tfjs computes. */
const KERAS_LOSSES = [
  ...(['meanSquaredError', 'meanAbsoluteError', 'meanAbsolutePercentageError'] as const),
  ...(['meanSquaredLogarithmicError', 'squaredHinge', 'hinge', 'categoricalHinge', 'logcosh'] as const),
  ...(['categoricalCrossentropy', 'sparseCategoricalCrossentropy', 'binaryCrossentropy'] as const),
  ...(['kullbackLeiblerDivergence', 'poisson', 'cosineProximity'] as const),
] as const;

/**
 * The name of a loss, of this library or of Keras. Entry points add some: `tfjs-lora/sound` `'ctc'`,
 * `tfjs-lora/transformers` spans, pairs and rankings.
 */
export type LossName =
  'crossEntropy' | 'ctc' | 'spans' | 'pairs' | 'sigmoidPairs' | 'ranking' | (typeof KERAS_LOSSES)[number];

/** A loss of targets and outputs: its mean, or that of each example. */
type LossFunction = (targets: tf.Tensor, outputs: tf.Tensor) => tf.Tensor;

/** Losses of a model: one, or one for each output, in their order or by their names. */
export type ModelLoss =
  | LossName
  | LossFunction
  | readonly (LossName | LossFunction)[]
  | {
      readonly [output: string]: LossName | LossFunction;
    };

/** Whether tfjs computes a loss, whose name is that of Keras, or of each output. */
export function isOfKeras(loss: unknown): loss is tf.ModelCompileArgs['loss'] {
  const isOne = (one: unknown) => typeof one === 'function' || (KERAS_LOSSES as readonly unknown[]).includes(one);
  return typeof loss === 'object' && loss !== null
    ? Object.values(loss).length > 0 && Object.values(loss).every(isOne)
    : typeof loss === 'string' && isOne(loss);
}

/** Options of losses with a name. */
export interface LossOptions extends ClassLossOptions {
  /** The factor for the cosines of `'ranking'`, 1 / temperature. Default: 20. */
  scale?: number;
}

export interface Loss {
  readonly lossFor: (
    model: tf.LayersModel,
  ) => (targets: tf.Tensor, outputs: tf.Tensor, options: LossOptions) => tf.Tensor;
  /** The options that it takes besides `ignoreIndex`. */
  readonly takes: readonly (keyof LossOptions | 'weighted')[];
  /** Whether it computes the softmax itself. */
  readonly takesLogits: boolean;
  /** Metrics by their names, the word for their targets, and metrics without a name, for errors. */
  readonly metrics: Readonly<Partial<Record<MetricName, (options: CrossEntropyOptions) => MetricFunction>>>;
  readonly targets: string;
  readonly otherMetrics?: readonly string[];
  /** The expected output, for errors. */
  readonly output: string;
  readonly fits: (shape: tf.Shape) => boolean;
  /** The shape of targets; null for any. Default: that of the output. tfjs makes a list of numbers `[batch, 1]`. */
  readonly targetShape?: (shape: tf.Shape) => tf.Shape | null;
}

/** The cross-entropy and metrics of logits, as functions of the states before the head. */
export interface LossOfHead {
  /** The states in the model, `[batch, positions, width]`. */
  readonly states: tf.SymbolicTensor;
  loss(targets: tf.Tensor, states: tf.Tensor3D, weights: Pick<ClassLossOptions, 'weights'>): tf.Scalar;
  /** The metric of an index. Called after the loss, with the same states. */
  metric(index: number, targets: tf.Tensor, states: tf.Tensor3D): tf.Tensor;
}

/** Computes the cross-entropy together with the head of a model; `undefined` if it does not know the head. */
type MakeLossOfHead = (
  model: tf.LayersModel,
  metrics: readonly MetricFunction[],
  options: ClassLossOptions,
) => LossOfHead | undefined;

/**
 * The loss of a model's head, as far as an extension knows its models; `undefined` for others.
 *
 * @throws LoRAError `ERR_MISFIT` if the model has no head.
 */
type HeadLoss = (model: tf.LayersModel) => LossName | undefined;

/** The losses that entry points add to the cross-entropy, so that a page does not load them all. */
const LOSSES = new Map<string, Loss>();

/** Where they are. */
const ADDED_BY: ReadonlyMap<string, string> = new Map([
  ['ctc', 'tfjs-lora/sound'],
  ['spans', 'tfjs-lora/transformers'],
  ['pairs', 'tfjs-lora/transformers'],
  ['sigmoidPairs', 'tfjs-lora/transformers'],
  ['ranking', 'tfjs-lora/transformers'],
]);

const headLosses = new Set<HeadLoss>();

let makeLossOfHead: MakeLossOfHead = () => undefined;

/** Supplies how an extension computes the cross-entropy together with heads. */
export function supplyLossOfHead(make: MakeLossOfHead): void {
  makeLossOfHead = make;
}

/** The cross-entropy of a model with its head, if an extension can compute that from the states before it. */
export function lossOfHead(...args: Parameters<MakeLossOfHead>): LossOfHead | undefined {
  return makeLossOfHead(...args);
}

export function addLosses(losses: Readonly<Partial<Record<LossName, Loss>>>): void {
  Object.entries(losses).forEach(([name, loss]) => LOSSES.set(name, loss));
}

/** Registers how an extension knows the losses of its models. */
export function registerHeadLoss(lossOf: HeadLoss): void {
  headLosses.add(lossOf);
}

/**
 * The loss of a model without an option for it: that of its head, or the cross-entropy.
 *
 * @throws LoRAError `ERR_MISFIT` if the model is known to have no head.
 */
export function defaultLoss(model: tf.LayersModel): LossName {
  for (const lossOf of headLosses) {
    const name = lossOf(model);
    if (name !== undefined) {
      return name;
    }
  }
  return 'crossEntropy';
}

/** @throws LoRAError `ERR_OPTION` if there is no such loss, `ERR_UNSUPPORTED` if no entry point added it. */
export function addedLoss(name: unknown): Loss {
  const loss = typeof name === 'string' ? LOSSES.get(name) : undefined;
  if (loss !== undefined) {
    return loss;
  }
  const entry = typeof name === 'string' ? ADDED_BY.get(name) : undefined;
  if (entry !== undefined) {
    throw unsupportedError(`The loss ${show(name)} is in another entry point. Import it: import '${entry}';`);
  }
  const names = ['crossEntropy', ...ADDED_BY.keys()].map(show).join(', ');
  throw new LoRAError(
    `loss must be a function, one of ${names}, or one of Keras: ${KERAS_LOSSES.join(', ')}. Several outputs take ` +
      `functions and losses of Keras, as a list or by output. Got ${typeof name === 'object' ? kindOf(name) : show(name)}.`,
  );
}
