import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, show} from '../../platform/errors';
import {type CallProgress, checkCallOptions} from '../../platform/signals';
import {fitBegan} from '../model/fits';
import {type FitParams, type Logs, resolveLogs, stepsIn, TrainingCallback} from './callback';
import {ElementBar} from './elementBar';
import {learningRateOf} from './learningRate';

/** The progress of a fit: `done` counts the completed steps in all epochs. */
export interface TrainingProgress extends CallProgress {
  /** The current stage, as in the reports of other calls. */
  readonly what: 'training';
  /** The current epoch, counted from 1. */
  epoch: number;
  /** The number of epochs. */
  epochs: number;
  /** Steps in all epochs; `Infinity` for a dataset without a size, until its first epoch is over. */
  readonly total: number;
  /** The logs of the last step, or of the epoch at its end: `loss`, metrics, `val_loss`, … */
  logs: Readonly<Record<string, number>>;
  /** The rate of the last step; `undefined` for an optimizer without one. */
  learningRate: number | undefined;
  /** Since the fit began. `fitOnFeatures` begins by computing the features and, with `headFirst`, training the head. */
  seconds: number;
  /** At the pace of the steps so far; unknown before the first one. */
  secondsLeft: number | undefined;
  /** Whether the fit is in an epoch, at the end of one, or over. */
  at: 'step' | 'epoch' | 'end';
}

/** Options of `progress`. */
export interface ProgressOptions {
  /** Name of the training, shown with the bar. Default: none. */
  label?: string;
  /** An element of the page. When a fit begins, its content is replaced by a `<progress>` and a line of text. */
  element?: HTMLElement;
  /** Called instead of drawing in the terminal: to draw something else in a page, or to report from a worker. */
  onProgress?: (progress: TrainingProgress) => void;
  /** The fewest seconds between two reports of steps. The loss is only read for a report. Default: 0.1. */
  everySeconds?: number;
  /**
   * Ends the fit after the current step when it is aborted, as `model.stopTraining = true` does. The fit does not
   * reject. Default: none.
   */
  signal?: AbortSignal;
}

/** Where a bar is drawn. */
interface Terminal {
  isTTY?: boolean;
  write(text: string): unknown;
}

const WIDTH = 30;

class ProgressReport extends TrainingCallback {
  private readonly label: string;
  private readonly everySeconds: number;
  private readonly terminal: Terminal | undefined;
  private readonly onProgress: ((progress: TrainingProgress) => void) | undefined;
  private readonly bar: ElementBar | undefined;
  private readonly signal: AbortSignal | undefined;
  private last: TrainingProgress | undefined;
  /** The width of the open line in the terminal. */
  private width = 0;
  // Set when a fit begins.
  private began!: number;
  private start!: number;
  private reported!: number;
  private before!: number;
  private epoch!: number;
  private step!: number;
  private perEpoch: number | undefined;
  private logs!: Readonly<Record<string, number>>;

  constructor({label = '', element, onProgress, everySeconds = 0.1, signal}: ProgressOptions) {
    super();
    if (typeof label !== 'string') {
      throw new LoRAError(`label must be a string, got ${show(label)}.`);
    }
    if (onProgress !== undefined && typeof onProgress !== 'function') {
      throw new LoRAError(`onProgress must be a function, got ${show(onProgress)}.`);
    }
    checkCallOptions(signal === undefined ? {} : {signal});
    checkNumber('everySeconds', everySeconds, everySeconds >= 0, 'a number of seconds, 0 or more');
    if (label !== '' && onProgress !== undefined && element === undefined) {
      throw new LoRAError('label has no effect with onProgress, which gets numbers. Leave it out, or pass an element.');
    }
    this.label = label;
    this.everySeconds = everySeconds;
    this.onProgress = onProgress;
    this.signal = signal;
    this.bar = element === undefined ? undefined : new ElementBar(element, label);
    this.terminal = onProgress === undefined && element === undefined ? terminalOfNode() : undefined;
  }

  protected override begin(firstEpoch: number): void {
    this.start = this.reported = tf.util.now();
    this.began = fitBegan(this.model) ?? this.start;
    this.perEpoch = this.stepsPerEpoch;
    this.before = this.step = this.stepsBefore(firstEpoch);
    this.epoch = firstEpoch;
    this.logs = {};
    this.endLine(); // that of a fit that another callback's error ended
    this.last = undefined;
    this.bar?.begin();
    this.drawInPage('');
  }

  override async onEpochBegin(epoch: number): Promise<void> {
    await super.onEpochBegin(epoch);
    this.epoch = epoch;
  }

  protected override async endBatch(_batch: number, logs: Logs): Promise<void> {
    this.step++;
    if (this.signal?.aborted === true) {
      this.model.stopTraining = true;
    }
    const now = tf.util.now();
    if (now - this.reported >= 1000 * this.everySeconds) {
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
    this.drawInPage('stopped by an error');
  }

  override release(): void {
    this.abandon();
  }

  private report(at: TrainingProgress['at'], logs: Readonly<Record<string, number>>): void {
    this.logs = logs;
    const epochs = (this.params as FitParams).epochs ?? 1;
    const total = this.perEpoch === undefined ? Infinity : stepsIn(epochs, this.perEpoch);
    const now = tf.util.now();
    const seconds = (now - this.began) / 1000;
    const stepsDone = this.step - this.before;
    const isOver = at === 'end';
    // Work before the first step, such as the features of fitOnFeatures, is not repeated.
    const pace = (now - this.start) / 1000 / stepsDone;
    const secondsLeft = isOver
      ? 0
      : total < Infinity && stepsDone > 0
        ? pace * Math.max(0, total - this.step)
        : undefined;
    const {optimizer} = this.model;
    const learningRate = 'learningRate' in optimizer ? learningRateOf(optimizer) : undefined;
    const count = {done: this.step, total, what: 'training'} as const;
    const progress = {...count, epoch: this.epoch + 1, epochs, logs, learningRate, seconds, secondsLeft, at};
    this.last = progress;
    this.drawInPage(isOver ? (this.isEarly(progress) ? 'stopped early' : 'done') : '');
    this.onProgress?.(progress);
    // A file only gets the outcome.
    if (this.terminal?.isTTY === true || isOver) {
      this.draw(progress);
    }
    if (isOver) {
      this.endLine();
    }
  }

  /** @param outcome how the fit ended; empty while it goes on. */
  private drawInPage(outcome: string): void {
    const {last} = this;
    // After an error, no time is left.
    const text = last === undefined ? '' : progressText(outcome ? {...last, at: 'end'} : last);
    this.bar?.draw(last && shareOf(last), joined(this.label, outcome, text));
  }

  /** Whether steps are missing. Epochs of a dataset of unknown size may differ in length. */
  private isEarly({done, total, epoch, epochs}: TrainingProgress): boolean {
    return this.stepsPerEpoch === undefined ? total < Infinity && epoch < epochs : done < total;
  }

  private draw(progress: TrainingProgress): void {
    const bar = '█'.repeat(Math.round(WIDTH * (shareOf(progress) ?? 0))).padEnd(WIDTH, '░');
    const line = joined(`${this.label && `${this.label.padEnd(17)} `}${bar}`, progressText(progress));
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

/** From 0 to 1. */
function shareOf({done, total}: TrainingProgress): number | undefined {
  return total > 0 && total < Infinity ? Math.min(1, done / total) : undefined;
}

function progressText({epoch, epochs, done, total, logs, learningRate, ...times}: TrainingProgress): string {
  const {loss, val_loss: valLoss} = logs;
  const accuracy = logs.val_acc ?? logs.acc;
  const isOver = times.at === 'end';
  return joined(
    epochs > 1 && `epoch ${epoch}/${epochs}`,
    `${done}${total < Infinity ? `/${total}` : ''} steps`,
    loss !== undefined && `loss ${loss.toPrecision(3)}`,
    valLoss !== undefined && `val ${valLoss.toPrecision(3)}`,
    accuracy !== undefined && `${(100 * accuracy).toFixed(1)} %`,
    learningRate !== undefined && !isOver && `rate ${learningRate.toExponential(1)}`,
    isOver ? duration(times.seconds) : times.secondsLeft !== undefined && `${duration(times.secondsLeft)} left`,
  );
}

function joined(...texts: (string | false)[]): string {
  return texts.filter(Boolean).join(' · ');
}

function duration(seconds: number): string {
  const totalSeconds = Math.round(seconds);
  const secondsLeft = String(totalSeconds % 60).padStart(2, '0');
  return totalSeconds < 60 ? `${totalSeconds} s` : `${Math.floor(totalSeconds / 60)}:${secondsLeft} min`;
}

/** Standard output in Node. Nothing of Node is imported: pages load this too. */
function terminalOfNode(): Terminal | undefined {
  const {process} = globalThis as {process?: {stdout?: Partial<Terminal>}};
  return typeof process?.stdout?.write === 'function' ? (process.stdout as Terminal) : undefined;
}

/**
 * Shows the progress of a fit. In Node it draws one line in the terminal, with the loss, the learning rate and the time
 * left; without a terminal it prints one line at the end. In a page, pass an `element`, in which it draws a native
 * `<progress>` and the same text, and at the end whether the fit is done, stopped early, or was ended by an error of
 * one of these callbacks. After any other error the bar stays as it is, so catch what `fit` rejects with. In a worker,
 * pass `onProgress`. A page or a worker that passes neither sees nothing.
 *
 * A `signal`, such as that of a button, ends the fit after the current step. The fit's promise resolves to the history
 * so far, and the model keeps what it has learned. `bestAdapter` restores the best epoch as usual, and `checkpoint`
 * saves, with the epoch counted as complete. An epoch that ends early is not validated. If the signal is aborted before
 * the fit begins, the fit takes one step.
 *
 * With tfjs-node, which also draws a bar, pass `verbose: 0` to `fit`.
 *
 * @param options a label, an element to draw in, or a function to call instead of printing; a signal.
 * @returns a callback for `fit`, `fitDataset` and `fitOnFeatures`.
 * @throws LoRAError `ERR_OPTION` if an option is not of its type.
 * @example
 *     const element = document.getElementById('training')!; // <div id="training"></div>
 *     await model.fit(xs, ys, {epochs: 20, callbacks: [progress({label: 'LoRA', element})]});
 *     progress({onProgress: ({done, total}) => postMessage({done, total})}); // in a worker
 *     progress({element, signal: controller.signal}); // button.onclick = () => controller.abort()
 */
export function progress(options: ProgressOptions = {}): tf.Callback {
  checkOptions(
    options,
    {label: true, element: true, onProgress: true, everySeconds: true, signal: true},
    "progress({label: 'LoRA'})",
  );
  return new ProgressReport(options);
}
