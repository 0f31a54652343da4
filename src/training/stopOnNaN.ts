import type * as tf from '@tensorflow/tfjs';
import {listed, LoRAError, show} from '../errors';
import {type Logs, resolveLogs, TrainingCallback} from './callback';
import {changingVariables, layersNotFinite, Snapshot} from './snapshot';

/** What helps against numbers that are not finite. */
export const ADVICE =
  'What helps: a lower learning rate, a schedule with warm-up, clipByGlobalNorm(optimizer, 1), and data without NaN.';

/** The callback that `stopOnNaN` makes. */
export class StopOnNaN extends TrainingCallback {
  private variables = new Map<string, tf.LayerVariable>();
  private epoch = 0;
  private step = 0;
  /** The weights of the step that is going on. */
  private current: Snapshot | undefined;
  /** The last weights of which it is known that their loss was finite. */
  private good: Snapshot | undefined;
  private report: string | undefined;

  protected override begin(firstEpoch: number): void {
    this.forget();
    this.variables = changingVariables(this.subject);
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
    const {loss = 0} = await resolveLogs(logs);
    if (Number.isFinite(loss)) {
      this.good?.dispose();
      this.good = this.current;
      this.current = undefined;
      return;
    }
    this.report =
      `In step ${this.step} (epoch ${this.epoch + 1}, batch ${batch + 1}) the loss was ${loss}. ` +
      (await this.cause());
    this.model.stopTraining = true;
  }

  /** Says what was not finite first, and puts back the last weights that were. */
  private async cause(): Promise<string> {
    const {current, good} = this;
    const first = await layersNotFinite(current?.tensors ?? {});
    if (first.length > 0) {
      good?.restore();
      return `Before it weights were not finite: those of ${quoted(first)} went first, in step ${this.step - 1}.`;
    }
    const now = new Snapshot(this.variables);
    const spoilt = await layersNotFinite(now.tensors);
    now.dispose();
    current?.restore();
    const then = spoilt.length === 0 ? '' : ` Its gradients spoilt the weights of ${quoted(spoilt)}.`;
    return `All weights were finite before it: the numbers between them were not.${then}`;
  }

  /** Only here: whoever ends a fit in the middle of an epoch leaves the tensors of tfjs's own callbacks behind. */
  protected override async endEpoch(_epoch: number, logs: Logs): Promise<void> {
    if (this.report !== undefined) {
      await resolveLogs(logs);
      const best = this.all.find((callback): callback is TrainingCallback & {epoch: number} => {
        return callback.part === 'best' && (callback as {epoch?: number}).epoch !== undefined;
      });
      this.all.forEach(callback => callback.abandon());
      const outcome = best
        ? `has its best adapter again, of epoch ${best.epoch + 1}`
        : 'has the last weights again whose loss was finite';
      throw new LoRAError(`${this.report} The model ${outcome}. ${ADVICE}`);
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

/** Names of layers as a sentence has them. */
export function quoted(layers: readonly string[]): string {
  return listed(layers.map(show), 5);
}

/**
 * A callback that ends the fit at the first step whose loss is not finite. The error names the step, and the layer whose weights were not finite
 * first. The model has its last good weights again, or with `bestAdapter` beside it the best adapter.
 *
 * It reads the loss after each step, for which a GPU has to wait.
 */
export function stopOnNaN(): StopOnNaN {
  return new StopOnNaN();
}
