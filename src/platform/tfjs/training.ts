import * as tf from '@tensorflow/tfjs';
import {freeingTape} from './engine';
import {fieldsOf} from './fields';

/** Protected fields of a tfjs model for training. */
interface TrainingFields {
  /** The field by which tfjs refuses a second fit of a model. */
  isTraining: boolean;
  /** Whether the fit ends with the current step. */
  stopTraining_: boolean;
  optimizer_: tf.Optimizer;
  /** What trains, in the order of the optimizer's slots. */
  collectedTrainableWeights: tf.LayerVariable[];
  /** The shapes of targets that `fit` takes, for each output; null for any. */
  feedOutputShapes: (tf.Shape | null)[];
  /** The loss of each output, and what tfjs looks at to check its targets. */
  lossFunctions: Objective[];
  feedLossFns: Objective[];
  /** Metrics with the indices of their outputs. Those of a model with several outputs begin with its losses. */
  metricsTensors: [Objective, number][];
  /** The names in the logs: the loss, and those of the metrics. */
  metricsNames: string[];
  /** What a model computes. Only changed while it computes a step. */
  outputs: tf.SymbolicTensor[];
  makeTrainFunction: () => StepFunction;
  makeTestFunction: () => void;
  testFunction: StepFunction;
  /** Of a Sequential: the model that it holds. */
  model?: tf.LayersModel;
}

/** A loss or a metric of one output. */
type Objective = (targets: tf.Tensor, outputs: tf.Tensor) => tf.Tensor;

/** Computes the loss and the metrics of a batch. */
type StepFunction = (data: tf.Tensor[]) => tf.Tensor[];

/** The model that tfjs trains in a fit: for a Sequential, its inner model. */
export function trainedIn(model: tf.LayersModel): tf.LayersModel {
  return fieldsOf<TrainingFields>(model).model ?? model;
}

/** Whether tfjs is fitting a model that is not a Sequential. */
export function isTraining(trained: tf.layers.Layer): boolean {
  return fieldsOf<TrainingFields>(trained).isTraining;
}

/** From now on, calls `before` with each model that `trainOnBatch` trains: for a Sequential, its inner model. */
export function watchTrainOnBatch(before: (trained: tf.LayersModel) => void): void {
  const prototype = tf.LayersModel.prototype as {
    trainOnBatch: (
      this: tf.LayersModel,
      ...data: Parameters<tf.LayersModel['trainOnBatch']>
    ) => Promise<number | number[]>;
  };
  const {trainOnBatch} = prototype;
  prototype.trainOnBatch = function (...data) {
    before(this);
    return trainOnBatch.apply(this, data);
  };
}

/** Runs `f`, which trains a model that is not a Sequential. During the call, tfjs refuses to fit it. */
export async function asTraining<T>(trained: tf.LayersModel, f: () => Promise<T>): Promise<T> {
  const fields = fieldsOf<TrainingFields>(trained);
  fields.isTraining = true;
  try {
    return await f();
  } finally {
    fields.isTraining = false;
  }
}

/** Runs `f` while a compiled model that is not a Sequential has another optimizer. */
export async function withOptimizer<T>(
  trained: tf.LayersModel,
  optimizer: tf.Optimizer,
  f: () => Promise<T>,
): Promise<T> {
  const fields = fieldsOf<TrainingFields>(trained);
  const compiledOptimizer = fields.optimizer_;
  fields.optimizer_ = optimizer;
  try {
    return await f();
  } finally {
    fields.optimizer_ = compiledOptimizer;
  }
}

/** The optimizer of a compiled model that is not a Sequential, and what it trains, in the order of its slots. */
export function stepOf(trained: tf.LayersModel): {optimizer: tf.Optimizer; variables: readonly tf.LayerVariable[]} {
  const {optimizer_: optimizer, collectedTrainableWeights: variables} = fieldsOf<TrainingFields>(trained);
  return {optimizer, variables};
}

/** Lets a compiled model of one output take targets of a shape, or any. tfjs takes those of the output's. */
export function setTargetShape(model: tf.LayersModel, shape: tf.Shape | null): void {
  fieldsOf<TrainingFields>(trainedIn(model)).feedOutputShapes = [shape];
}

/** Gives a compiled model the losses, metrics and shapes of targets of another one with as many outputs. */
export function takeTargetsOf(model: tf.LayersModel, other: tf.LayersModel): void {
  const {feedOutputShapes, lossFunctions, feedLossFns, metricsTensors} = fieldsOf<TrainingFields>(trainedIn(other));
  Object.assign(fieldsOf<TrainingFields>(trainedIn(model)), {
    feedOutputShapes,
    lossFunctions,
    feedLossFns,
    metricsTensors,
  });
}

/**
 * What a compiled model logs under a name: functions with the indices of their outputs, whose means add up to it.
 * `undefined` if it logs nothing of that name.
 */
export function objectivesOf(model: tf.LayersModel, name: string): [Objective, number][] | undefined {
  const {lossFunctions, metricsTensors, metricsNames} = fieldsOf<TrainingFields>(trainedIn(model));
  const metric = metricsTensors[metricsNames.indexOf(name) - 1];
  return name === 'loss' ? lossFunctions.map((loss, i) => [loss, i]) : metric && [metric];
}

export function logNames(model: tf.LayersModel): readonly string[] {
  return fieldsOf<TrainingFields>(trainedIn(model)).metricsNames;
}

/** Replaces the losses and metrics of a compiled model, and lets it take targets of any shape. */
export function replaceObjectives(
  model: tf.LayersModel,
  {loss, metric}: Readonly<Record<'loss' | 'metric', (objective: Objective) => Objective>>,
): void {
  const fields = fieldsOf<TrainingFields>(trainedIn(model));
  const losses = fields.lossFunctions.map(loss);
  fields.lossFunctions = losses;
  fields.feedLossFns = losses;
  fields.feedOutputShapes = losses.map(() => null);
  const first = losses.length > 1 ? losses.length : 0; // metrics that are losses
  fields.metricsTensors = fields.metricsTensors.map(([objective, output], i) => [
    i < first ? (losses[output] as Objective) : metric(objective),
    output,
  ]);
}

/**
 * Has a compiled model of one output compute only `inner`, a tensor on the way to its output, in steps of training and
 * evaluation. Its loss and metrics are called with that. This lasts until the model gets other losses.
 *
 * @returns whether such a step is running; otherwise losses and metrics are called with outputs.
 */
export function stopSteps(model: tf.LayersModel, inner: tf.SymbolicTensor): () => boolean {
  const fields = fieldsOf<TrainingFields>(model);
  const {makeTrainFunction, makeTestFunction} = Object.getPrototypeOf(model) as TrainingFields;
  const {lossFunctions, outputs} = fields;
  let isRunning = false;
  const stopped =
    (step: StepFunction): StepFunction =>
    data => {
      if (fields.lossFunctions !== lossFunctions) {
        return freeingTape(() => step(data));
      }
      fields.outputs = [inner];
      isRunning = true;
      try {
        return freeingTape(() => step(data));
      } finally {
        fields.outputs = outputs;
        isRunning = false;
      }
    };
  fields.makeTrainFunction = () => stopped(makeTrainFunction.call(model));
  fields.makeTestFunction = () => {
    makeTestFunction.call(model);
    fields.testFunction = stopped(fields.testFunction);
  };
  return () => isRunning;
}

/** Ends a fit of a model when another model is told to stop, `other.stopTraining = true`, or the signal is aborted. */
export function stopWith(model: tf.LayersModel, other: tf.LayersModel, signal?: AbortSignal): void {
  const otherFields = fieldsOf<TrainingFields>(trainedIn(other));
  Object.defineProperty(trainedIn(model), 'stopTraining_', {
    configurable: true, // the model may be fitted again
    get: () => otherFields.stopTraining_ || signal?.aborted === true,
    set: (stop: boolean) => (otherFields.stopTraining_ = stop),
  });
}
