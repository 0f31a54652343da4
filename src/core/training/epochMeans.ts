import * as tf from '@tensorflow/tfjs';
import {damagedError} from '../../platform/errors';
import {type Logs, TrainingCallback} from './callback';
import {type CallbackState, resumedAt} from './resumed';

/**
 * The means that tfjs logs for an epoch, even if another process took its first batches. tfjs makes one of these for
 * every fit and calls it before the callbacks of the user, so that all of them, and `History`, see the same values.
 * Sums are added up in the order and type of tfjs's own, for the same bits.
 */
export class EpochMeans extends TrainingCallback {
  override readonly stateName = 'means';
  /** Whether a checkpoint will need the sums. */
  isNeeded = false;
  private isResumed = false;
  private examples = 0;
  private sums: Record<string, tf.Scalar> = {};

  override onBatchEnd(_batch: number, {batch: _, size, ...values}: Logs = {}): Promise<void> {
    if (this.isNeeded || this.isResumed) {
      this.examples += Number(size);
      for (const [name, value] of Object.entries(values)) {
        const former = this.sums[name];
        // A name that was not logged before has no mean in a resumed epoch.
        const start = former ?? (this.isResumed ? NaN : 0);
        this.sums[name] = tf.tidy(() => tf.add<tf.Scalar>(start, tf.mul(value, Number(size))));
        former?.dispose();
      }
    }
    return Promise.resolve();
  }

  protected override endEpoch(_epoch: number, logs: Logs): Promise<void> {
    for (const [name, sum] of Object.entries(this.isResumed ? this.sums : {})) {
      tf.dispose(logs[name]);
      logs[name] = tf.tidy(() => tf.mul<tf.Scalar>(tf.div(1, this.examples), sum));
    }
    this.release();
    return Promise.resolve();
  }

  protected override end(): void {
    this.release();
  }

  override release(): void {
    tf.dispose(this.sums);
    this.sums = {};
    this.examples = 0;
    this.isResumed = false;
  }

  override async state(): Promise<CallbackState | undefined> {
    const {examples, sums} = this;
    const read = async ([name, sum]: [string, tf.Scalar]) => [name, String((await sum.data())[0])] as const;
    // As text, since JSON has no NaN.
    const values = {examples, sums: Object.fromEntries(await Promise.all(Object.entries(sums).map(read)))};
    return examples === 0 ? undefined : {values, tensors: {}};
  }

  protected override resume({values: {examples, sums}}: CallbackState): void {
    const entries = Object.entries(sums ?? {}).map(([name, sum]) => [name, Number(sum)] as const);
    if (!Number.isSafeInteger(examples) || entries.length === 0) {
      throw damagedError('The checkpoint is damaged: it does not say what the means of its epoch were.');
    }
    if (resumedAt(this.model, undefined)?.batch !== 0) {
      this.isResumed = true;
      this.examples = Number(examples);
      this.sums = Object.fromEntries(entries.map(([name, sum]) => [name, tf.scalar(sum)]));
    }
  }
}

let isRegistered = false;

/** Adds one to each fit from now on. */
export function registerEpochMeans(): void {
  if (!isRegistered) {
    tf.registerCallbackConstructor(0, EpochMeans);
    isRegistered = true;
  }
}
