import type * as tf from '@tensorflow/tfjs';
import {
  checkNumber,
  checkOptions,
  damagedError,
  listed,
  LoRAError,
  misfitError,
  numericError,
  show,
} from '../../platform/errors';
import {type FitParams, type Logs, resolveLogs} from './callback';
import type {CallbackState} from './resumed';
import {areFinite, changingVariables, layersNotFinite, Snapshot, trainedVariables} from './snapshot';
import {SnapshotCallback} from './snapshotCallback';
import {ADVICE, quoted} from './stopOnNaN';

/** Options of `bestAdapter`. */
export interface BestAdapterOptions {
  /** The monitored name in the logs of an epoch. Default: `'val_loss'` with validation, otherwise `'loss'`. */
  monitor?: string;
  /** How many epochs without improvement end the fit. Default: never. */
  patience?: number;
  /** The minimum improvement of an epoch. Default: 0. */
  minDelta?: number;
  /** Which values are better. Default: `'max'` for accuracies, F1, margins and rewards, else `'min'`. */
  mode?: 'min' | 'max';
}

/** Whether a higher value of what the logs call so is better. */
export function isBetterHigh(name: string): boolean {
  return /acc|f1|top\d|margin|reward/i.test(name);
}

/** The callback that `bestAdapter` makes. */
export interface BestAdapter extends tf.Callback {
  /** The epoch whose adapter is the best so far, counted from 0. Undefined before the first one ends. */
  readonly epoch: number | undefined;
  /** The monitored value of that epoch. */
  readonly value: number | undefined;
}

/** Its snapshot has the values of the best epoch; before the first ends, the initial ones. */
export class BestAdapterCallback extends SnapshotCallback implements BestAdapter {
  override readonly stateName = 'best';
  epoch: number | undefined;
  value: number | undefined;
  /** For how many epochs nothing was better. Set when a fit begins. */
  private waited!: number;

  constructor(private readonly options: BestAdapterOptions) {
    super();
    const {monitor, patience, minDelta, mode} = options;
    if (monitor !== undefined && (typeof monitor !== 'string' || monitor === '')) {
      throw new LoRAError(`monitor must be a name in the logs of an epoch, such as "val_loss", got ${show(monitor)}.`);
    }
    if (patience !== undefined && patience !== Infinity) {
      checkNumber('patience', patience, Number.isInteger(patience) && patience >= 1, 'a number of epochs, 1 or more');
    }
    if (minDelta !== undefined) {
      checkNumber('minDelta', minDelta, minDelta >= 0, 'a number that is not negative');
    }
    if (mode !== undefined && !['min', 'max'].includes(mode)) {
      throw new LoRAError(`mode must be "min" or "max", got ${show(mode)}.`);
    }
  }

  protected override begin(): void {
    this.variables = changingVariables(this.subject);
    this.keep(undefined, undefined);
    this.waited = 0;
  }

  protected override async endEpoch(epoch: number, logs: Logs): Promise<void> {
    const values = await resolveLogs(logs);
    const {loss = NaN} = values;
    if (!Number.isFinite(loss) || !(await areFinite(trainedVariables(this.subject)))) {
      await this.refuse(epoch, loss);
    }
    const isValidated = 'val_loss' in values || (this.params as FitParams).doValidation === true;
    const name = this.options.monitor ?? (isValidated ? 'val_loss' : 'loss');
    const value = values[name];
    if (!isValidated && this.options.monitor === undefined && this.value === undefined) {
      console.warn(
        'bestAdapter() compares epochs by the training loss, because the fit has no validation data. That loss falls ' +
          "even if the model gets worse on new examples. Pass validation data, or {monitor: 'loss'} if you mean it.",
      );
    }
    if (value === undefined && this.model.stopTraining) {
      return; // tfjs does not validate an epoch that ends early
    }
    if (value === undefined) {
      throw misfitError(
        `There is no ${show(name)} to monitor. The logs of an epoch have: ${listed(Object.keys(values))}.`,
      );
    }
    if (Number.isNaN(value) && this.value === undefined) {
      throw numericError(
        `${show(name)} was NaN in epoch ${epoch + 1}, so no adapter is the best. A metric is NaN if nothing in ` +
          'a batch counts for it: use larger batches, or another monitor.',
      );
    }
    const {patience = Infinity, minDelta = 0, mode = isBetterHigh(name) ? 'max' : 'min'} = this.options;
    const gain = (mode === 'max' ? 1 : -1) * (value - (this.value ?? NaN));
    if (this.value === undefined || gain > minDelta) {
      this.keep(epoch, value);
      this.waited = 0;
    } else if (++this.waited >= patience) {
      this.model.stopTraining = true;
    }
  }

  protected override end(): void {
    this.abandon();
  }

  /** Restores the best adapter. */
  override abandon(): void {
    if (this.epoch !== undefined) {
      this.snapshot?.restore();
    }
    this.release();
  }

  override state(): CallbackState | undefined {
    const {epoch, value, waited, snapshot} = this;
    return epoch === undefined || snapshot === undefined
      ? undefined
      : {values: {epoch, value, waited}, tensors: {...snapshot.tensors}};
  }

  protected override resume({values, tensors}: CallbackState): void {
    const isWhole = [...this.variables.keys()].every(name => name in tensors);
    if (!isWhole || ![values.epoch, values.value, values.waited].every(Number.isFinite)) {
      throw damagedError('The checkpoint is damaged: it does not say which adapter was the best.');
    }
    this.takeSnapshotOf(tensors);
    [this.epoch, this.value] = [Number(values.epoch), Number(values.value)];
    this.waited = Number(values.waited);
  }

  private keep(epoch: number | undefined, value: number | undefined): void {
    this.takeSnapshot();
    this.epoch = epoch;
    this.value = value;
  }

  /** @throws LoRAError which says what is not finite. The model has its best adapter again. */
  private async refuse(epoch: number, loss: number): Promise<never> {
    const now = new Snapshot(this.variables);
    const layers = await layersNotFinite(trainedVariables(this.subject), now.tensors);
    now.dispose();
    const outcome =
      this.epoch === undefined
        ? 'is as it was before this fit'
        : `has its best adapter again, of epoch ${this.epoch + 1}`;
    if (this.epoch === undefined) {
      this.snapshot?.restore();
    }
    this.all.forEach(callback => callback.abandon());
    const weights = `the weights of ${quoted(layers)}`;
    const report = Number.isFinite(loss)
      ? `${weights} were no longer finite, although the loss was ${loss}`
      : `the loss was no longer finite${layers.length > 0 ? `, nor were ${weights}` : ''}`;
    throw numericError(
      `In epoch ${epoch + 1} ${report}. The model ${outcome}. The callback stopOnNaN() reports the first such ` +
        `step and layer. ${ADVICE}`,
    );
  }
}

/**
 * Keeps the adapter of the best epoch in memory, and restores it when the fit is over. With `patience`, it ends the fit
 * early. For a plain model it keeps all weights that train. If the loss or a weight that trains is not finite at the
 * end of an epoch, the best adapter is restored and the fit ends with an error.
 *
 * Without validation data it compares epochs by the training loss, and warns once in each fit.
 *
 * Validate on 100 examples or more. With fewer, the choice is mostly chance: train on all of them instead, without this
 * callback, or choose by `val_loss`.
 *
 * `epoch` and `value` of the callback say which epoch was the best. The optimizer keeps its state: call
 * `resetOptimizer(model)` before another fit.
 *
 * @param options what to monitor, and how long to wait for something better.
 * @returns a callback for `fit` and `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range. `fit` rejects with `ERR_MISFIT` if there is nothing
 *     of the name to monitor, and with `ERR_NUMERIC` if the loss is not finite.
 * @example
 *     await model.fit(xs, ys, {epochs: 20, validationSplit: 0.2, callbacks: [bestAdapter({patience: 3})]});
 */
export function bestAdapter(options: BestAdapterOptions = {}): BestAdapter {
  checkOptions(options, {monitor: true, patience: true, minDelta: true, mode: true});
  return new BestAdapterCallback(options);
}
