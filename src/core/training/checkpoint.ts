import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, numericError} from '../../platform/errors';
import {type FitParams, type Logs, resolveLogs, TrainingCallback} from './callback';
import {type CheckpointPlace, slotOf, readCheckpoint, writeCheckpoint} from './checkpointFile';
import {EpochMeans, registerEpochMeans} from './epochMeans';
import {type CallbackState, resumedAt} from './resumed';
import {captureRun, partsNotFinite} from './runState';
import {type SeededBatches, SeededDataset} from './seededBatches';
import {ADVICE} from './stopOnNaN';

/** Options of `checkpoint`. */
export interface CheckpointOptions {
  /** How many epochs pass between checkpoints. Default: 1, unless `everySteps` is given. */
  everyEpochs?: number;
  /** How many steps pass between checkpoints. A run resumes exactly in the middle of an epoch only with `batches`. */
  everySteps?: number;
  /** How many checkpoints are kept. Default: 2; for a handler 1. */
  keep?: number;
  /** The dataset of `fitDataset`: its seed is saved too. */
  batches?: SeededBatches;
}

class Checkpoints extends TrainingCallback {
  private readonly keep: number;
  private readonly everyEpochs: number;
  private readonly everySteps: number;
  private readonly batches: SeededBatches | undefined;
  /** The number of the last saved checkpoint. */
  private number: number | undefined;
  // Set when a fit and an epoch begin.
  private epoch!: number;
  private batch!: number;
  private step!: number;
  /** Why a due checkpoint was not saved. */
  private fault: string | undefined;

  constructor(
    private readonly place: CheckpointPlace,
    {everyEpochs, everySteps, keep = keptAt(place), batches}: CheckpointOptions,
  ) {
    super();
    checkPlaces(place, keep);
    checkCount('everyEpochs', everyEpochs ?? 1);
    checkCount('everySteps', everySteps ?? 1);
    checkBatches(batches);
    this.keep = keep;
    this.everyEpochs = everyEpochs ?? (everySteps === undefined ? 1 : Infinity);
    this.everySteps = everySteps ?? Infinity;
    this.batches = batches;
  }

  protected override begin(firstEpoch: number): void {
    const resumed = resumedAt(this.model, firstEpoch);
    this.step = this.stepsBefore(firstEpoch);
    this.batch = resumed?.batch ?? 0;
    this.number = resumed?.number;
    this.fault = undefined;
    const means = this.all.find(callback => callback instanceof EpochMeans);
    if (means !== undefined) {
      means.isNeeded = this.everySteps < Infinity && this.batches !== undefined;
    }
  }

  override async onEpochBegin(epoch: number): Promise<void> {
    this.batch = 0;
    await super.onEpochBegin(epoch);
    this.epoch = epoch;
  }

  protected override async endBatch(_batch: number, logs: Logs): Promise<void> {
    this.step++;
    this.batch++;
    // At the end of an epoch the other callbacks have not seen it yet.
    const isInside = this.batch !== this.stepsPerEpoch;
    if (isInside && this.step % this.everySteps === 0 && Number.isFinite((await resolveLogs(logs)).loss)) {
      await this.save(this.epoch, this.batch);
    }
  }

  protected override async endEpoch(epoch: number, logs: Logs): Promise<void> {
    for (const callback of this.all) {
      if (callback !== this) {
        await callback.onEpochEnd(epoch, logs);
      }
    }
    const isDue = (epoch + 1) % this.everyEpochs === 0 || this.step % this.everySteps === 0;
    const isLast = epoch + 1 === (this.params as FitParams).epochs || this.model.stopTraining;
    if ((isDue || isLast) && Number.isFinite((await resolveLogs(logs)).loss)) {
      await this.save(epoch + 1, 0);
    }
    if (this.fault !== undefined) {
      this.all.forEach(callback => callback.abandon());
      throw numericError(`No checkpoint was saved in epoch ${epoch + 1}: ${this.fault} ${ADVICE}`);
    }
  }

  private async save(epoch: number, batch: number): Promise<void> {
    const callbacks = new Map<string, CallbackState>();
    for (const callback of this.all) {
      const state = await callback.state();
      if (callback.stateName !== undefined && state !== undefined) {
        callbacks.set(callback.stateName, state);
      }
    }
    const {step, batches} = this;
    const number = (this.number ?? (await this.lastNumber())) + 1;
    const where = {number, epoch, batch, step, ...(batches && {seed: batches.seed})};
    const run = captureRun(this.subject, where, callbacks);
    const broken = await partsNotFinite(this.subject, run);
    if (broken !== undefined) {
      this.fault = `${broken} Earlier ones are unchanged.`;
      // an error within an epoch would leak the tensors of tfjs's own callbacks
      this.model.stopTraining = true;
      return;
    }
    await writeCheckpoint(slotOf(this.place, number % this.keep, this.keep), run);
    this.number = number;
  }

  /** The number of the last checkpoint of an earlier run at this place, so that this run's count as later ones. */
  private async lastNumber(): Promise<number> {
    let last = -1;
    for (let slot = 0; slot < this.keep; slot++) {
      try {
        const {state, tensors} = await readCheckpoint(slotOf(this.place, slot, this.keep));
        tf.dispose(tensors);
        last = Math.max(last, state.number);
      } catch {
        // Nothing there, or nothing usable.
      }
    }
    return last;
  }
}

/** How many checkpoints are kept by default: one may be damaged. */
export function keptAt(place: CheckpointPlace): number {
  return typeof place === 'object' && !(place instanceof URL) ? 1 : 2;
}

/** @throws LoRAError if the place cannot hold this many checkpoints. */
export function checkPlaces(place: CheckpointPlace, keep: number): void {
  if (!['string', 'function', 'object'].includes(typeof place) || (place as unknown) === null || place === '') {
    throw new LoRAError(
      'The place of checkpoints must be a URL, a tf.io.IOHandler, or a function that returns one, got ' +
        `${place === '' ? 'an empty text' : kindOf(place)}.`,
    );
  }
  checkCount('keep', keep);
  slotOf(place, 0, keep);
}

/** @throws LoRAError if the batches cannot be replayed. */
export function checkBatches(batches: unknown): asserts batches is SeededDataset | undefined {
  if (batches !== undefined && !(batches instanceof SeededDataset)) {
    throw new LoRAError(`batches must be those of seededBatches, got ${kindOf(batches)}.`);
  }
}

/**
 * Saves the state of a run during training: the adapter, or all weights of a plain model; the optimizer's counters and
 * slots; the schedule, the best adapter so far, epoch and seed. `resume` continues from there. In files, IndexedDB and
 * local storage, each checkpoint is saved whole or not at all.
 *
 *     callbacks: [learningRateSchedule({warmup: 0.1}), bestAdapter(), checkpoint('file://out/run')]
 *
 * @param place a URL, which gets the number of each of the `keep` checkpoints appended, in turn; a handler, with `keep:
 *     1`; or a function from that number to a place. A checkpoint is always saved after the last epoch, or an early
 *     end.
 * @param options how often to save, how many checkpoints to keep, and the batches whose order is saved.
 * @returns a callback for `fit` and `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if it is no place, or an option is not in its range.
 */
export function checkpoint(place: CheckpointPlace, options: CheckpointOptions = {}): tf.Callback {
  checkOptions(options, {everyEpochs: true, everySteps: true, keep: true, batches: true});
  registerEpochMeans();
  return new Checkpoints(place, options);
}
