import * as tf from '@tensorflow/tfjs';
import {fieldsOf} from './fields';

/** Protected fields of a tfjs model for training. */
interface TrainingFields {
  /** The field by which tfjs refuses a second fit of a model. */
  isTraining: boolean;
  /** Whether the fit ends with the current step. */
  stopTraining_: boolean;
  optimizer_: tf.Optimizer;
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
  const own = fields.optimizer_;
  fields.optimizer_ = optimizer;
  try {
    return await f();
  } finally {
    fields.optimizer_ = own;
  }
}

/** Lets a compiled model of one output take targets of a shape, or any. tfjs takes those of the output's. */
export function takeTargets(model: tf.LayersModel, shape: tf.Shape | null): void {
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

/** The names of what a compiled model logs. */
export function logNames(model: tf.LayersModel): readonly string[] {
  return fieldsOf<TrainingFields>(trainedIn(model)).metricsNames;
}

/** Replaces the losses and metrics of a compiled model, and lets it take targets of any shape. */
export function replaceObjectives(
  model: tf.LayersModel,
  {loss, metric}: Readonly<Record<'loss' | 'metric', (given: Objective) => Objective>>,
): void {
  const fields = fieldsOf<TrainingFields>(trainedIn(model));
  const losses = fields.lossFunctions.map(loss);
  fields.lossFunctions = losses;
  fields.feedLossFns = losses;
  fields.feedOutputShapes = losses.map(() => null);
  const first = losses.length > 1 ? losses.length : 0; // metrics that are losses
  fields.metricsTensors = fields.metricsTensors.map(([given, output], i) => [
    i < first ? (losses[output] as Objective) : metric(given),
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
        return step(data);
      }
      fields.outputs = [inner];
      isRunning = true;
      try {
        return step(data);
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
  const whole = fieldsOf<TrainingFields>(trainedIn(other));
  Object.defineProperty(trainedIn(model), 'stopTraining_', {
    configurable: true, // the model may be fitted again
    get: () => whole.stopTraining_ || signal?.aborted === true,
    set: (stop: boolean) => (whole.stopTraining_ = stop),
  });
}

/** A slot of a tfjs optimizer, one for each variable, by its index in the list. */
export interface Slot {
  originalName: string;
  variable: tf.Variable;
}

/** What `tf.AdamOptimizer` keeps private. */
export interface AdamFields {
  readonly accBeta1: tf.Variable;
  readonly accBeta2: tf.Variable;
  readonly accumulatedFirstMoment: Slot[];
  readonly accumulatedSecondMoment: Slot[];
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** What `tf.MomentumOptimizer` keeps private. */
export interface MomentumFields {
  readonly accumulations: Slot[];
  readonly momentum: number;
  readonly useNesterov: boolean;
}

/** The fields in which tfjs's optimizers count their steps, besides their slots. */
export interface Counters extends Partial<Pick<AdamFields, 'accBeta1' | 'accBeta2'>> {
  iterations_?: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly iteration?: tf.Variable;
}

/** Resets an optimizer whose slots have other shapes than the trainable variables of a model. */
export function dropMisfittingSlots(trained: tf.LayersModel): void {
  const {optimizer_: optimizer} = fieldsOf<TrainingFields>(trained);
  const shapes = trained.trainableWeights.map(weight => weight.read().shape);
  const misfits = ({variable}: Slot, i: number) => !tf.util.arraysEqual(variable.shape, shapes[i] ?? variable.shape);
  if (slotsOf(optimizer).some(slots => slots.some(misfits))) {
    forgetSteps(optimizer);
  }
}

/** The slots of an optimizer, and of those inside it. */
function slotsOf(optimizer: tf.Optimizer): Slot[][] {
  const {inner} = optimizer as {inner?: tf.Optimizer};
  return [...Object.values(optimizer).filter(isSlots), ...(inner === undefined ? [] : slotsOf(inner))];
}

/** Resets an optimizer, and those inside it. */
export function forgetSteps(optimizer: tf.Optimizer): void {
  for (const value of Object.values(optimizer)) {
    if (isSlots(value)) {
      value.forEach(({variable}) => variable.dispose());
      value.length = 0;
    }
  }
  const {inner} = optimizer as {inner?: tf.Optimizer};
  if (inner !== undefined) {
    forgetSteps(inner);
  }
  const counters = fieldsOf<Counters>(optimizer);
  counters.iterations_ = 0;
  restart(counters.accBeta1, counters.beta1);
  restart(counters.accBeta2, counters.beta2);
  restart(counters.iteration, 0);
}

/** Whether a field holds slots: a list with one for each variable that has been trained. */
export function isSlots(value: unknown): value is Slot[] {
  return (
    Array.isArray(value) && value.every(entry => (entry as Partial<Slot> | undefined)?.variable instanceof tf.Variable)
  );
}

function restart(counter: tf.Variable | undefined, start: number): void {
  if (counter !== undefined) {
    tf.tidy(() => counter.assign(tf.scalar(start)));
  }
}
