import type * as tf from '@tensorflow/tfjs';
import {listed, numericError, show} from '../../platform/errors';
import {type Logs, resolveLogs, TrainingCallback} from './callback';
import {areFinite, changingVariables, layersNotFinite, Snapshot, trainedVariables} from './snapshot';

/** Remedies for values that are not finite. */
export const ADVICE =
  'What helps: a lower learning rate, a schedule with warm-up, clipByGlobalNorm(optimizer, 1), and data without NaN.';

class StopOnNaN extends TrainingCallback {
  private variables = new Map<string, tf.LayerVariable>();
  private trained = new Map<string, tf.LayerVariable>();
  // Set when a fit and an epoch begin.
  private epoch!: number;
  private step!: number;
  /** The weights before the current step. */
  private current: Snapshot | undefined;
  /** The last weights that are known to be finite, with a finite loss. */
  private good: Snapshot | undefined;
  private report: string | undefined;
  /** The state of the model after the report. */
  private outcome!: string;

  protected override begin(firstEpoch: number): void {
    this.forget();
    this.variables = changingVariables(this.subject);
    this.trained = trainedVariables(this.subject);
    this.step = this.stepsBefore(firstEpoch);
    this.report = undefined;
  }

  override async onEpochBegin(epoch: number): Promise<void> {
    await super.onEpochBegin(epoch);
    this.epoch = epoch;
  }

  override onBatchBegin(): Promise<void> {
    this.current = new Snapshot(this.variables);
    return Promise.resolve();
  }

  protected override async endBatch(batch: number, logs: Logs): Promise<void> {
    this.step++;
    // Some kernels lose NaN: a loss may be finite though weights are not.
    const [{loss = 0}, isGood] = await Promise.all([resolveLogs(logs), areFinite(this.trained)]);
    if (Number.isFinite(loss) && isGood) {
      this.good?.dispose();
      this.good = this.current;
      this.current = undefined;
      return;
    }
    this.report =
      `In step ${this.step} (epoch ${this.epoch + 1}, batch ${batch + 1}) the loss was ${loss}. ` +
      (await this.cause(loss));
    this.model.stopTraining = true;
  }

  /** Describes what was not finite first, and restores the last finite weights. */
  private async cause(loss: number): Promise<string> {
    const {variables, trained, current, good} = this;
    const now = new Snapshot(variables);
    const [first, spoilt] = (await Promise.all(
      [current, now].map(snapshot => layersNotFinite(trained, snapshot?.tensors ?? {})),
    )) as [string[], string[]];
    now.dispose();
    const isGood = first.length === 0;
    (isGood ? current : (good ?? current))?.restore();
    this.outcome = isGood || good ? 'has its last finite weights again' : 'is as it was before this fit';
    if (!isGood) {
      return `Before it, the weights of ${quoted(first)} were not finite.`;
    }
    const between = Number.isFinite(loss) ? '' : ': the values between them were not';
    const then = spoilt.length === 0 ? '' : ` Its gradients made the weights of ${quoted(spoilt)} infinite or NaN.`;
    return `All weights were finite before it${between}.${then}`;
  }

  /** Only here, because ending a fit in the middle of an epoch leaks the tensors of tfjs's own callbacks. */
  protected override async endEpoch(_epoch: number, logs: Logs): Promise<void> {
    if (this.report !== undefined) {
      await resolveLogs(logs);
      const best = this.all.find((callback): callback is TrainingCallback & {epoch: number} => {
        return callback.stateName === 'best' && (callback as {epoch?: number}).epoch !== undefined;
      });
      this.all.forEach(callback => callback.abandon());
      const outcome = best ? `has its best adapter again, of epoch ${best.epoch + 1}` : this.outcome;
      throw numericError(`${this.report} The model ${outcome}. ${ADVICE}`);
    }
  }

  protected override end(): void {
    this.forget();
  }

  override abandon(): void {
    this.forget();
  }

  private forget(): void {
    this.current?.dispose();
    this.good?.dispose();
    this.current = this.good = undefined;
  }
}

/** Quoted names of layers for a sentence. */
export function quoted(layers: readonly string[]): string {
  return listed(layers.map(show), 5);
}

/**
 * Ends the fit at the first step whose loss, or a trainable weight after it, is not finite. The error names the step,
 * and the layers whose weights were not finite first. The model gets its last finite weights back, or its best adapter
 * if `bestAdapter` is among the callbacks.
 *
 * Reads the loss and a sum of the weights after each step, for which a GPU has to wait.
 *
 * @returns a callback for `fit` and `fitDataset`, which reject with a `LoRAError` of code `ERR_NUMERIC`.
 * @example
 *     await model.fit(xs, ys, {callbacks: [stopOnNaN()]});
 */
export function stopOnNaN(): tf.Callback {
  return new StopOnNaN();
}
