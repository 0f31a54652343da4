import type * as tf from '@tensorflow/tfjs';
import {busyError, checkCount, checkOptions, kindOf, listed, LoRAError, show} from '../../platform/errors';
import {abortError, checkCallOptions, throwIfAborted} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isDataset} from '../../platform/tfjs/copies';
import {isTraining} from '../../platform/tfjs/training';
import type {Batches} from '../model/fitOnFeatures';
import {fittedModel} from '../model/fits';
import {bestAdapter, type BestAdapterOptions} from './bestAdapter';
import {type Logs, resolveLogs, TrainingCallback} from './callback';
import {checkpoint} from './checkpoint';
import type {CheckpointPlace} from './checkpointFile';
import {clipByGlobalNorm} from './clipByGlobalNorm';
import {compileModel, type CompileModelOptions} from './compileModel';
import {learningRateOf} from './learningRate';
import {learningRateSchedule, type ScheduleOptions} from './learningRateSchedule';
import {adam} from './optimizers';
import {progress, type TrainingProgress} from './progress';
import {type ResumedRun, resumeRun} from './resume';
import {type CallbackState, forgetResumed} from './resumed';
import {checkIdentity, identityOfBase, identityOfExamples, type RunIdentity} from './runIdentity';
import {type ExampleTensors, seededBatches, SeededDataset} from './seededBatches';
import {stopOnNaN} from './stopOnNaN';

/** Examples to train or validate on: inputs and targets as `fit` takes them, or batches for `fitDataset`. */
export type FineTuneData = readonly [xs: ExampleTensors, ys: ExampleTensors] | Batches;

/** Options of `fineTune`. Those of `compileModel` are for a model that you did not compile. */
export interface FineTuneOptions extends Partial<Omit<CompileModelOptions, 'optimizer'>> {
  /** Default: `adam({learningRate})`. */
  optimizer?: tf.Optimizer;
  /** The highest rate of the schedule. Default: 1e-3. */
  learningRate?: number;
  /** The largest norm of all gradients of a step together, or `false` for any. Default: 1. */
  maxNorm?: number | false;
  /** How the rate rises and falls, as for `learningRateSchedule`. Default: `{warmup: 0.1}`. */
  schedule?: ScheduleOptions;
  /** Default: 20. */
  epochs?: number;
  /** How many examples are in a batch, of tensors. Default: 32. */
  batchSize?: number;
  /** Decides the order of tensors of examples in every epoch: a whole number. Default: 0. */
  seed?: number;
  /** Held-out examples, with which epochs are compared. */
  validationData?: FineTuneData;
  /**
   * How the best epoch is chosen, as for `bestAdapter`, or `false` to keep the last one. Default: `{patience: 5}` with
   * validation data, else `false`.
   */
  best?: BestAdapterOptions | false;
  /** Whether the first step with a NaN ends the call. Default: true. */
  stopOnNaN?: boolean;
  /** Where checkpoints are saved. If there are some, the call continues from the newest. Default: none are saved. */
  checkpoint?: CheckpointPlace;
  /** How many steps pass between checkpoints within an epoch. Default: they are saved after each epoch alone. */
  everySteps?: number;
  /** More callbacks, such as `progress()`. */
  callbacks?: readonly (tf.Callback | tf.CustomCallback)[];
  /** Ends the call after the current step when it is aborted: the promise is rejected with `ERR_ABORTED`. */
  signal?: AbortSignal;
  /** Called as training goes on, with what `progress` reports. */
  onProgress?: (progress: TrainingProgress) => void;
}

/** What `fineTune` did. */
export interface FineTuned {
  /** The loss and metrics of each epoch, by name: of earlier processes too, if the run was resumed. */
  history: Readonly<Record<string, readonly number[]>>;
  /** The epoch whose adapter the model has, counted from 0. */
  epoch: number;
  /** Why it has that one, as a sentence. */
  reason: string;
  /** From where the run was resumed; `undefined` if it began anew. */
  resumed: ResumedRun | undefined;
}

/** Options of the compilation, which a compiled model does not take. */
const COMPILE_OPTIONS = [
  ...(['loss', 'metrics', 'weighted', 'ignoreIndex', 'labelSmoothing', 'focalGamma', 'classWeights', 'scale'] as const),
  ...(['optimizer', 'learningRate', 'maxNorm'] as const),
];

/** Models with the optimizer that this function compiled them with. */
const compiledHere = new WeakMap<tf.LayersModel, tf.Optimizer>();

/** With fewer validation examples, the choice of an epoch is mostly chance. */
const ENOUGH_EXAMPLES = 100;

/** Watches the signal and notes the logs of epochs. It comes first, so that an aborted epoch is not saved. */
class Course extends TrainingCallback {
  override readonly stateName = 'fineTune';
  /** Those of epochs that are over. */
  logs: Record<string, number>[] = [];
  /** How many steps this process has taken; `undefined` before the fit begins. */
  steps: number | undefined;

  constructor(
    private readonly identity: RunIdentity | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {
    super();
  }

  protected override begin(): void {
    this.steps = 0;
  }

  protected override endBatch(): Promise<void> {
    this.steps = (this.steps ?? 0) + 1;
    if (this.signal?.aborted === true) {
      this.model.stopTraining = true; // the end of the epoch throws: here, tfjs's own callbacks would leak
    }
    return Promise.resolve();
  }

  protected override async endEpoch(_epoch: number, logs: Logs): Promise<void> {
    const values = await resolveLogs(logs);
    if (this.signal?.aborted === true) {
      throw abortError(this.signal);
    }
    this.logs.push({...values});
  }

  /** Ends the callbacks of a fit that failed: the best adapter and the rate are restored. */
  endAll(): void {
    this.all.forEach(callback => {
      callback.abandon();
      callback.release();
    });
  }

  override state(): CallbackState {
    // As text, since JSON has no NaN.
    const logs = this.logs.map(values => Object.entries(values).map(([name, value]) => [name, String(value)]));
    const hasEnded = this.model.stopTraining && this.signal?.aborted !== true;
    return {values: {identity: this.identity, logs, hasEnded}, tensors: {}};
  }

  protected override resume({values}: CallbackState): void {
    const epochs = values.logs as readonly (readonly [name: string, value: string])[][];
    this.logs = epochs.map(entries => Object.fromEntries(entries.map(([name, value]) => [name, Number(value)])));
  }
}

/**
 * Trains a model by the recipe of `docs/training.md`: a learning rate that rises and falls, gradients of a limited
 * norm, the adapter of the best epoch if there is validation data, an end at the first NaN, and checkpoints from which
 * the same call continues. It is made of `compileModel`, `seededBatches`, `fitDataset`, `learningRateSchedule`,
 * `clipByGlobalNorm`, `bestAdapter`, `stopOnNaN`, `checkpoint` and `resume`, and gives the same bits as those.
 *
 * A model that you have not compiled is compiled with `compileModel`, anew in each call. One that you have compiled
 * keeps its loss and optimizer.
 *
 * With `checkpoint`, the call looks for checkpoints at that place first. It refuses those of other data, options or
 * weights of the base. Data are compared by a checksum of all values, batches of other datasets by their number only.
 *
 * If the call fails or its signal is aborted, the model has the adapter of the best epoch so far, else that of the last
 * step whose weights are finite. Errors of this library say which.
 *
 * @param model usually adapted.
 * @param data `[xs, ys]`, or batches such as those of `seededBatches` and `encodeChats`.
 * @param options everything that the recipe leaves open.
 * @returns a promise of the history, and which epoch's adapter was kept, and why.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range, or is for the compilation of a model that is
 *     compiled; `ERR_MISFIT` if data or loss do not fit the model, or the checkpoints are of another run; `ERR_NUMERIC`
 *     if the loss or weights are not finite; `ERR_BUSY` if the model is training; `ERR_ABORTED`.
 * @example
 *     const {history, reason} = await fineTune(model, [xs, ys], {
 *       loss: 'meanSquaredError',
 *       validationData: [xsHeldOut, ysHeldOut],
 *     });
 * @experimental
 */
export async function fineTune(
  model: tf.LayersModel,
  data: FineTuneData,
  options: FineTuneOptions = {},
): Promise<FineTuned> {
  checkModel(model);
  checkOptions(
    options,
    {
      ...{loss: true, metrics: true, weighted: true, ignoreIndex: true, labelSmoothing: true, focalGamma: true},
      ...{classWeights: true, optimizer: true, learningRate: true, maxNorm: true, schedule: true, epochs: true},
      ...{batchSize: true, seed: true, validationData: true, best: true, stopOnNaN: true, checkpoint: true},
      ...{everySteps: true, callbacks: true, signal: true, onProgress: true, scale: true},
    },
    "fineTune(model, [xs, ys], {loss: 'meanSquaredError'})",
  );
  const {signal, onProgress, epochs = 20, schedule = {warmup: 0.1}, validationData, callbacks = []} = options;
  const {best = validationData == null ? false : {patience: 5}, checkpoint: place, everySteps} = options;
  checkCallOptions({signal});
  checkCount('epochs', epochs);
  if (everySteps !== undefined && place === undefined) {
    throw new LoRAError('everySteps is for checkpoints. Pass {checkpoint: place} too, or leave it out.');
  }
  const callbackList: unknown = callbacks;
  if (!Array.isArray(callbackList)) {
    throw new LoRAError(`callbacks must be a list of callbacks, got ${kindOf(callbackList)}.`);
  }
  const batches = batchesOf('data', data, options);
  const heldOut = validationData && batchesOf('validationData', validationData, {});
  const seeded = batches instanceof SeededDataset ? batches : undefined;
  const rate = learningRateSchedule(schedule);
  const bestEpoch = best === false ? undefined : bestAdapter(best);
  const parts = [
    ...(options.stopOnNaN === false ? [] : [stopOnNaN()]),
    rate,
    ...(bestEpoch ? [bestEpoch] : []),
    ...(place === undefined ? [] : [checkpoint(place, {everyEpochs: 1, everySteps, batches: seeded})]),
    ...(onProgress ? [progress({onProgress})] : []),
    ...callbacks,
  ];
  throwIfAborted(signal);
  if (isTraining(fittedModel(model))) {
    throw busyError('The model is already training: another fit is running. Await it first.');
  }
  compile(model, options);
  const settings = {epochs, schedule, best, ...(seeded && {seed: seeded.seed, batchSize: seeded.batchSize})};
  const identity = place === undefined ? undefined : await identityOf(model, {batches, heldOut, settings, options});
  let hasEnded = false as boolean; // the compiler does not see that it changes
  const start =
    place === undefined
      ? undefined
      : await resumeRun(model, place, {signal, batches: seeded}, ({callbacks: states}) => {
          checkIdentity(identity ?? {}, states.fineTune?.identity);
          hasEnded = states.fineTune?.hasEnded === true;
        });
  const resumed = start && start.step > 0 ? start : undefined;
  const course = new Course(identity, signal);
  try {
    throwIfAborted(signal);
    await model.fitDataset(batches, {
      epochs,
      initialEpoch: hasEnded ? epochs : resumed?.initialEpoch,
      validationData: validationData as Batches | undefined, // tfjs takes tensors too
      callbacks: [course, ...parts],
      verbose: 0,
    });
  } catch (error) {
    if (course.steps !== undefined) {
      course.endAll();
    }
    forgetResumed(model);
    throw withOutcome(error, outcomeOf(course, bestEpoch?.epoch, resumed));
  }
  const {logs} = course;
  const last = logs.length - 1;
  const monitor = (best !== false && best.monitor) || (validationData == null ? 'loss' : 'val_loss');
  const names = [...new Set(logs.flatMap(values => Object.keys(values)))];
  return {
    history: Object.fromEntries(names.map(name => [name, logs.map(values => values[name] ?? NaN)])),
    epoch: bestEpoch?.epoch ?? last,
    reason:
      bestEpoch?.epoch === undefined
        ? `Epoch ${last + 1} was the last one. Epochs were not compared.`
        : `Epoch ${bestEpoch.epoch + 1} of ${last + 1} had the best ${monitor}, ${bestEpoch.value}.` +
          (last + 1 < epochs ? ` Training ended ${epochs - last - 1} epochs early: none was better after it.` : '') +
          (heldOut instanceof SeededDataset && heldOut.examples < ENOUGH_EXAMPLES
            ? ` With ${heldOut.examples} validation examples the choice is mostly chance: ${ENOUGH_EXAMPLES} or more ` +
              'are useful.'
            : ''),
    resumed,
  };
}

/** @throws LoRAError if they are no examples, or the order of a dataset is to be changed. */
function batchesOf(
  name: string,
  data: FineTuneData,
  {batchSize, seed}: Pick<FineTuneOptions, 'batchSize' | 'seed'>,
): Batches {
  if (isDataset(data)) {
    if (batchSize !== undefined || seed !== undefined) {
      throw new LoRAError('batchSize and seed are for tensors. A dataset has its own: give them where it is made.');
    }
    return data;
  }
  const pair: unknown = data;
  if (!Array.isArray(pair) || pair.length !== 2) {
    throw new LoRAError(`${name} must be [xs, ys], or a dataset of batches, got ${kindOf(pair)}.`);
  }
  const [xs, ys] = pair as [ExampleTensors, ExampleTensors];
  return seededBatches(xs, ys, {batchSize, seed: seed ?? 0});
}

/** Compiles a model that the user has not compiled. */
function compile(model: tf.LayersModel, options: FineTuneOptions): void {
  const current = model.optimizer as tf.Optimizer | undefined;
  const compileOptions = Object.fromEntries(
    COMPILE_OPTIONS.map(name => [name, options[name]] as const).filter(([, value]) => value !== undefined),
  ) as Pick<FineTuneOptions, (typeof COMPILE_OPTIONS)[number]>;
  const names = Object.keys(compileOptions);
  if (current !== undefined && current !== compiledHere.get(model)) {
    if (names.length > 0) {
      throw new LoRAError(
        `The model is compiled already, so ${listed(names)} would have no effect. Leave this out, or pass a model ` +
          'that is not compiled.',
      );
    }
    return;
  }
  const {optimizer, learningRate = 1e-3, maxNorm = 1, ...lossOptions} = compileOptions;
  if (optimizer !== undefined && compileOptions.learningRate !== undefined) {
    throw new LoRAError('The optimizer has a learning rate. Leave out learningRate.');
  }
  const inner = optimizer ?? adam({learningRate});
  const clipped = maxNorm === false ? inner : clipByGlobalNorm(inner, maxNorm);
  compileModel(model, {...lossOptions, optimizer: clipped});
  compiledHere.set(model, clipped);
}

/** The identity of the run, which its checkpoints record and a resumed run has to equal. */
async function identityOf(
  model: tf.LayersModel,
  {
    batches,
    heldOut,
    settings,
    options,
  }: {batches: Batches; heldOut: Batches | undefined; settings: object; options: FineTuneOptions},
): Promise<RunIdentity> {
  const examplesIn = (dataset: Batches) =>
    dataset instanceof SeededDataset ? identityOfExamples(dataset) : Promise.resolve(`${dataset.size} batches`);
  const {optimizer} = model;
  const {loss, metrics, weighted, ignoreIndex, labelSmoothing, focalGamma, classWeights, scale} = options;
  const objective = {loss, metrics, weighted, ignoreIndex, labelSmoothing, focalGamma, classWeights, scale};
  return {
    'training data': await examplesIn(batches),
    'validation data': heldOut ? await examplesIn(heldOut) : 'none',
    base: await identityOfBase(model),
    'learning rate': 'learningRate' in optimizer ? String(learningRateOf(optimizer)) : 'none',
    ...Object.fromEntries(Object.entries({...settings, ...objective}).map(([name, value]) => [name, show(value)])),
  };
}

/** Which adapter a model has after a call that failed, as a sentence. */
function outcomeOf({steps = 0}: Course, best: number | undefined, resumed: ResumedRun | undefined): string {
  if (best !== undefined) {
    return `The model has its best adapter again, of epoch ${best + 1}.`;
  }
  if (steps === 0) {
    return resumed ? 'The model has the adapter of the checkpoint.' : 'The model has the adapter that it had before.';
  }
  return `The model has the adapter of step ${(resumed?.step ?? 0) + steps}.`;
}

/** An error of this library that says which adapter the model has, if it does not already. Others stay as they are. */
export function withOutcome(error: unknown, outcome: string): unknown {
  if (!(error instanceof LoRAError) || /The model (has its|is as)/.test(error.message)) {
    return error;
  }
  const {message, code, faults} = error;
  return new LoRAError(`${message}${/[.!?]$/.test(message) ? '' : '.'} ${outcome}`, {code, faults, cause: error});
}
