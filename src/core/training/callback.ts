import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../platform/errors';
import {fittedModel} from '../model/fits';
import {type CallbackState, forgetResumed, resumedAt} from './resumed';

/** The logs that tfjs passes to callbacks: numbers, and scalars that are not read yet. */
export type Logs = Record<string, number | tf.Scalar>;

/** The parameters of a fit, passed to callbacks before it begins. `fitDataset` omits what it does not know. */
export interface FitParams {
  epochs?: number | null;
  samples?: number | null;
  steps?: number | null;
  batchSize?: number | null;
  doValidation?: boolean;
}

/** The callbacks of this library in each fit, by the object that tfjs passes to all callbacks of the fit. */
const companions = new WeakMap<object, TrainingCallback[]>();

/** How many milliseconds may pass before other tasks get a turn, as with tfjs's callbacks made of plain functions. */
const YIELD_EVERY = 125;

/** Marks the methods of tfjs that check lists of callbacks, for all copies of the library in a process. */
const CHECKS_LISTS = Symbol.for('tfjs-lora.checksCallbacks');

type Fit = (...args: {callbacks?: unknown}[]) => Promise<tf.History>;

/** The callbacks of this library. Their class is not named here, so that bundlers drop it where it is not used. */
const libraryCallbacks = new WeakSet();

/** Makes fits refuse lists of callbacks and plain objects, of which tfjs uses the one kind or fails on the other. */
function refuseMixedLists(): void {
  const models = tf.LayersModel.prototype as unknown as Record<'fit' | 'fitDataset', Fit> & {[CHECKS_LISTS]?: true};
  if (models[CHECKS_LISTS]) {
    return;
  }
  models[CHECKS_LISTS] = true;
  for (const [name, place] of [
    ['fit', 2],
    ['fitDataset', 1],
  ] as const) {
    const stock = models[name];
    models[name] = async function (this: unknown, ...args) {
      const list = [args[place]?.callbacks].flat();
      const isPlain = (callback: unknown) =>
        typeof (callback as Partial<tf.Callback> | undefined)?.setParams !== 'function';
      if (
        list.some(callback => typeof callback === 'object' && callback !== null && libraryCallbacks.has(callback)) &&
        list.some(isPlain)
      ) {
        throw new LoRAError(
          'A list has callbacks of tfjs-lora and plain objects of functions, and tfjs accepts only one kind. Turn ' +
            'the objects into callbacks: callbacks: [progress(), new tf.CustomCallback({onEpochEnd})].',
        );
      }
      return stock.apply(this, args);
    };
  }
}

refuseMixedLists();

/** The base class of this library's callbacks: they know each other, and continue from a checkpoint. */
export abstract class TrainingCallback extends tf.Callback {
  private isFirstEpoch = true;
  private yielded = tf.util.now();
  private ended: {epoch: number; done: Promise<void>} | undefined;

  /** The name of its state in a checkpoint, if it has one. */
  readonly stateName: string | undefined = undefined;

  /** The state that belongs in a checkpoint. The tensors are the caller's. */
  state(): CallbackState | undefined | Promise<CallbackState | undefined> {
    return undefined;
  }

  /** Restores what `state` returned in another process. The tensors stay the caller's. */
  protected resume?(state: CallbackState): void;

  /** Called when another callback ends the fit with an error. */
  abandon(): void {
    // Most have nothing to do.
  }

  /** Called when the fit does not begin. Frees what is held, and leaves the model as it is. */
  release(): void {
    // Most hold nothing.
  }

  constructor() {
    super();
    libraryCallbacks.add(this);
  }

  override setParams(params: Parameters<tf.Callback['setParams']>[0]): void {
    super.setParams(params);
    companions.set(params, [...(companions.get(params) ?? []), this]);
  }

  override onTrainBegin(): Promise<void> {
    this.isFirstEpoch = true;
    this.ended = undefined;
    return Promise.resolve();
  }

  override onEpochBegin(epoch: number): Promise<void> {
    if (this.isFirstEpoch) {
      this.startAt(epoch);
    }
    return Promise.resolve();
  }

  override async onBatchEnd(batch: number, logs: Logs = {}): Promise<void> {
    await this.endBatch?.(batch, logs);
    // tfjs lets a page draw and respond between steps only without callbacks, or with plain functions among them.
    if (this.all.at(-1) === this && tf.util.now() - this.yielded > YIELD_EVERY) {
      await tf.nextFrame();
      this.yielded = tf.util.now();
    }
  }

  /** Handles the end of an epoch once, even if another callback triggers it before its turn. */
  override onEpochEnd(epoch: number, logs: Logs = {}): Promise<void> {
    if (this.ended?.epoch !== epoch) {
      this.ended = {epoch, done: this.endEpoch?.(epoch, logs) ?? Promise.resolve()};
    }
    return this.ended.done;
  }

  override onTrainEnd(): Promise<void> {
    if (this.isFirstEpoch) {
      this.startAt(undefined); // a run resumed after its last epoch
    }
    this.end?.();
    if (this.all.at(-1) === this) {
      forgetResumed(this.model);
    }
    return Promise.resolve();
  }

  private startAt(epoch: number | undefined): void {
    this.isFirstEpoch = false;
    try {
      this.begin?.(epoch ?? 0);
      const states = resumedAt(this.model, epoch)?.states;
      const state = states?.get(this.stateName ?? '');
      if (state !== undefined) {
        this.resume?.(state);
        states?.delete(this.stateName ?? '');
        tf.dispose(state.tensors);
      }
    } catch (error) {
      this.all.forEach(callback => callback.release());
      forgetResumed(this.model);
      throw error;
    }
  }

  protected begin?(firstEpoch: number): void;

  protected endBatch?(batch: number, logs: Logs): Promise<void>;
  protected endEpoch?(epoch: number, logs: Logs): Promise<void>;

  /** Called when the fit is over. */
  protected end?(): void;

  /** The trained model. tfjs passes a Sequential's inner model, and for `fitOnFeatures` a piece. */
  protected get subject(): tf.LayersModel {
    return fittedModel(this.model);
  }

  /** The callbacks of this library in this fit, including this one. */
  protected get all(): readonly TrainingCallback[] {
    return companions.get(this.params) ?? [this];
  }

  /** The number of steps in an epoch, if the fit knows it. It is a mean for a dataset whose epochs differ in length. */
  protected get stepsPerEpoch(): number | undefined {
    const {samples, batchSize, steps} = this.params as FitParams;
    return steps ?? (samples != null && batchSize != null ? Math.ceil(samples / batchSize) : undefined);
  }

  protected stepsBefore(epoch: number): number {
    return resumedAt(this.model, epoch)?.step ?? stepsIn(epoch, this.stepsPerEpoch ?? 0);
  }
}

/** The logs as numbers. As in tfjs's own callbacks, they are so for those that come after too. */
export async function resolveLogs(logs: Logs): Promise<Record<string, number>> {
  await Promise.all(
    Object.entries(logs).map(async ([name, value]) => {
      if (typeof value !== 'number') {
        logs[name] = (await value.data())[0] ?? NaN;
        value.dispose();
      }
    }),
  );
  return logs as Record<string, number>;
}

export function stepsIn(epochs: number, perEpoch: number): number {
  return Math.floor(epochs * perEpoch + 1e-9); // 3 epochs of 32 / 3 are 32
}
