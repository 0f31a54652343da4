import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, show} from '../../platform/errors';
import {type FitParams, type Logs, resolveLogs, TrainingCallback} from './callback';
import {learningRateOf} from './learningRate';

/** The progress of a fit. */
export interface TrainingProgress {
  /** The current epoch, counted from 1. */
  epoch: number;
  /** The number of epochs. */
  epochs: number;
  /** Completed steps in all epochs. */
  step: number;
  /** Steps in all epochs; unknown for a dataset without a size, until its first epoch is over. */
  steps: number | undefined;
  /** The logs of the last step, or of the epoch at its end: `loss`, metrics, `val_loss`, … */
  logs: Readonly<Record<string, number>>;
  /** The rate of the last step; `undefined` for an optimizer without one. */
  learningRate: number | undefined;
  seconds: number;
  secondsLeft: number | undefined;
  /** Whether the fit is in an epoch, at the end of one, or over. */
  at: 'step' | 'epoch' | 'end';
}

/** Options of `progress`. */
export interface ProgressOptions {
  /** Text before the bar. Default: none. */
  label?: string;
  /** Called instead of drawing a bar: in a page, or to report from a worker. */
  onProgress?: (progress: TrainingProgress) => void;
  /** The fewest milliseconds between two reports of steps. The loss is only read for a report. Default: 100. */
  everyMs?: number;
}

/** Where a bar is drawn. */
interface Terminal {
  isTTY?: boolean;
  write(text: string): unknown;
}

const WIDTH = 30;

/** The callback that `progress` makes. */
export class ProgressReport extends TrainingCallback {
  private readonly label: string;
  private readonly everyMs: number;
  private readonly terminal: Terminal | undefined;
  private readonly onProgress: ((progress: TrainingProgress) => void) | undefined;
  private start = 0;
  private reported = 0;
  private before = 0;
  private epoch = 0;
  private step = 0;
  private perEpoch: number | undefined;
  private logs: Readonly<Record<string, number>> = {};
  private width = 0;

  constructor({label = '', onProgress, everyMs = 100}: ProgressOptions) {
    super();
    if (typeof label !== 'string') {
      throw new LoRAError(`label must be a text, got ${show(label)}.`);
    }
    if (onProgress !== undefined && typeof onProgress !== 'function') {
      throw new LoRAError(`onProgress must be a function, got ${show(onProgress)}.`);
    }
    checkNumber('everyMs', everyMs, everyMs >= 0, 'a number of milliseconds');
    this.label = label;
    this.everyMs = everyMs;
    this.onProgress = onProgress;
    this.terminal = onProgress === undefined ? terminalOfNode() : undefined;
  }

  protected override begin(firstEpoch: number): void {
    this.start = this.reported = tf.util.now();
    this.perEpoch = this.stepsPerEpoch;
    this.before = this.step = this.stepsBefore(firstEpoch);
    this.logs = {};
    this.width = 0;
  }

  override async onEpochBegin(epoch: number): Promise<void> {
    await super.onEpochBegin(epoch);
    this.epoch = epoch;
  }

  protected override async endBatch(_batch: number, logs: Logs): Promise<void> {
    this.step++;
    const now = tf.util.now();
    if (now - this.reported >= this.everyMs) {
      this.reported = now;
      const {batch: _, size: __, ...values} = await resolveLogs(logs);
      this.report('step', values);
    }
  }

  protected override async endEpoch(epoch: number, logs: Logs): Promise<void> {
    this.perEpoch ??= Math.round(this.step / (epoch + 1));
    this.report('epoch', await resolveLogs(logs));
  }

  protected override end(): void {
    this.report('end', this.logs);
  }

  override abandon(): void {
    this.endLine();
  }

  private report(at: TrainingProgress['at'], logs: Readonly<Record<string, number>>): void {
    this.logs = logs;
    const epochs = (this.params as FitParams).epochs ?? 1;
    const steps = this.perEpoch === undefined ? undefined : epochs * this.perEpoch;
    const seconds = (tf.util.now() - this.start) / 1000;
    const done = this.step - this.before;
    const isOver = at === 'end';
    const secondsLeft = isOver ? 0 : steps && done > 0 ? (seconds / done) * Math.max(0, steps - this.step) : undefined;
    const {optimizer} = this.model;
    const learningRate = 'learningRate' in optimizer ? learningRateOf(optimizer) : undefined;
    const {epoch, step} = this;
    const progress = {epoch: epoch + 1, epochs, step, steps, logs, learningRate, seconds, secondsLeft, at};
    this.onProgress?.(progress);
    // A file only gets the outcome.
    if (this.terminal?.isTTY === true || isOver) {
      this.draw(progress);
    }
    if (isOver) {
      this.endLine();
    }
  }

  private draw(progress: TrainingProgress): void {
    const line = progressLine(this.label, progress);
    this.terminal?.write(`\r${line.padEnd(this.width)}`);
    this.width = line.length;
  }

  private endLine(): void {
    if (this.width > 0) {
      this.terminal?.write('\n');
      this.width = 0;
    }
  }
}

/** A line that shows the progress of a fit. */
function progressLine(
  label: string,
  {epoch, epochs, step, steps, logs, learningRate, ...times}: TrainingProgress,
): string {
  const share = steps === undefined ? 0 : Math.min(1, step / steps);
  const {loss, val_loss: valLoss} = logs;
  const accuracy = logs.val_acc ?? logs.acc;
  return [
    `${label && `${label.padEnd(17)} `}${'█'.repeat(Math.round(WIDTH * share)).padEnd(WIDTH, '░')}`,
    ...(epochs > 1 ? [`epoch ${epoch}/${epochs}`] : []),
    `${step}${steps === undefined ? '' : `/${steps}`} steps`,
    ...(loss === undefined ? [] : [`loss ${loss.toPrecision(3)}`]),
    ...(valLoss === undefined ? [] : [`val ${valLoss.toPrecision(3)}`]),
    ...(accuracy === undefined ? [] : [`${(100 * accuracy).toFixed(1)} %`]),
    ...(learningRate === undefined || times.at === 'end' ? [] : [`rate ${learningRate.toExponential(1)}`]),
    times.at === 'end'
      ? duration(times.seconds)
      : times.secondsLeft === undefined
        ? ''
        : `${duration(times.secondsLeft)} left`,
  ]
    .filter(text => text !== '')
    .join(' · ');
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const rest = String(whole % 60).padStart(2, '0');
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${rest} min`;
}

/** Standard output in Node. Nothing of Node is imported: pages load this too. */
function terminalOfNode(): Terminal | undefined {
  const {process} = globalThis as {process?: {stdout?: Partial<Terminal>}};
  return typeof process?.stdout?.write === 'function' ? (process.stdout as Terminal) : undefined;
}

/**
 * Shows the progress of a fit. In Node it draws one line in the terminal, with the loss, the learning rate and the time
 * left; without a terminal it prints one line at the end. In a page or a worker, pass `onProgress`.
 *
 *     callbacks: [progress({label: 'LoRA'})]
 *     callbacks: [progress({onProgress: ({step, steps}) => (bar.value = step / steps)})]
 *
 * With tfjs-node, which also draws a bar, pass `verbose: 0` to `fit`.
 *
 * @param options a label, or a function to call instead of printing.
 * @returns a callback for `fit` and `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if an option is not of its type.
 */
export function progress(options: ProgressOptions = {}): ProgressReport {
  checkOptions(options, {label: true, onProgress: true, everyMs: true}, "progress({label: 'LoRA'})");
  return new ProgressReport(options);
}
