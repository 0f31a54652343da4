import type * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, LoRAError, misfitError, show} from '../../platform/errors';
import {stepsIn, TrainingCallback} from './callback';
import {learningRateOf, setLearningRate} from './learningRate';
import type {CallbackState} from './resumed';

/** Options of `learningRateSchedule`. */
export interface ScheduleOptions {
  /** How many steps the rate takes to rise: a whole number, or a share of all steps below 1. Default: 0. */
  warmup?: number;
  /** How many steps there are in total. Default: those of the fit, if it knows them. */
  steps?: number;
  /** How it falls afterwards, to 0 after the last step. Default: `'cosine'`. */
  shape?: 'cosine' | 'linear' | 'constant';
}

type ScheduleShape = NonNullable<ScheduleOptions['shape']>;

const SHAPES: Readonly<Record<ScheduleShape, (progress: number) => number>> = {
  cosine: progress => (1 + Math.cos(Math.PI * progress)) / 2,
  linear: progress => 1 - progress,
  constant: () => 1,
};

/** The highest and the current rate of optimizers whose schedule has not ended, or whose fit failed. */
const peaks = new WeakMap<tf.Optimizer, {peak: number; last: number}>();

/** The callback that `learningRateSchedule` makes. */
export interface LearningRateSchedule extends tf.Callback {
  /**
   * The factor of the highest rate in a step, counted from 0.
   *
   * @throws LoRAError `ERR_OPTION` if the number of steps is not known.
   */
  factorAt(step: number): number;
  /** Sets the rate for a step, counted from 0, in a custom training loop. The optimizer's first rate is the highest. */
  set(optimizer: tf.Optimizer, step: number): void;
}

class ScheduleCallback extends TrainingCallback implements LearningRateSchedule {
  override readonly stateName = 'schedule';
  private readonly warmup: number;
  private readonly shape: ScheduleShape;
  private readonly givenSteps: number | undefined;
  private total: number | undefined;
  /** Set when a fit begins. */
  private step!: number;

  constructor({warmup = 0, steps, shape = 'cosine'}: ScheduleOptions) {
    super();
    checkNumber(
      'warmup',
      warmup,
      warmup >= 0 && (warmup < 1 || Number.isInteger(warmup)),
      'a number of steps, or a share below 1',
    );
    if (steps !== undefined) {
      checkCount('steps', steps);
    }
    if (!Object.hasOwn(SHAPES, shape)) {
      throw new LoRAError(`shape must be one of ${Object.keys(SHAPES).map(show).join(', ')}, got ${show(shape)}.`);
    }
    this.warmup = warmup;
    this.shape = shape;
    this.givenSteps = this.total = steps;
  }

  factorAt(step: number): number {
    const total = this.total ?? this.unknownTotal();
    const warmup = Math.min(total, this.warmup < 1 ? Math.round(this.warmup * total) : this.warmup);
    if (step < warmup) {
      return (step + 1) / warmup;
    }
    return SHAPES[this.shape](Math.min(1, (step - warmup) / Math.max(1, total - warmup)));
  }

  set(optimizer: tf.Optimizer, step: number): void {
    const rate = learningRateOf(optimizer);
    const recordedPeak = peaks.get(optimizer);
    const peak = recordedPeak?.last === rate ? recordedPeak.peak : rate;
    const last = peak * this.factorAt(step);
    setLearningRate(optimizer, last);
    peaks.set(optimizer, {peak, last});
  }

  protected override begin(firstEpoch: number): void {
    const {epochs} = this.params as {epochs?: number | null};
    const perEpoch = this.stepsPerEpoch;
    this.total = this.givenSteps ?? (perEpoch !== undefined && epochs != null ? stepsIn(epochs, perEpoch) : undefined);
    this.step = this.stepsBefore(firstEpoch);
    this.factorAt(0);
  }

  override onBatchBegin(): Promise<void> {
    this.set(this.model.optimizer, this.step++);
    return Promise.resolve();
  }

  protected override end(): void {
    this.abandon();
  }

  /** The next fit begins with the initial rate of this one. */
  override abandon(): void {
    const {optimizer} = this.model;
    const peak = peaks.get(optimizer);
    if (peak?.last === learningRateOf(optimizer)) {
      setLearningRate(optimizer, peak.peak);
    }
    peaks.delete(optimizer);
  }

  override state(): CallbackState {
    const {optimizer} = this.model;
    const {warmup, shape, total} = this;
    const peak = peaks.get(optimizer)?.peak ?? learningRateOf(optimizer);
    return {values: {warmup, shape, steps: total, peak}, tensors: {}};
  }

  protected override resume({values}: CallbackState): void {
    const faults = Object.entries(this.state().values)
      .filter(([name, value]) => values[name] !== value)
      .map(
        ([name, value]) =>
          `  ${name === 'peak' ? 'rate of the optimizer' : name}: ${show(value)}, and ${show(values[name])} before`,
      );
    if (faults.length > 0) {
      throw misfitError(
        `The schedule is another one than in the run that is resumed:\n${faults.join('\n')}\nGive what it had ` +
          'before, and call resume again; or leave initialEpoch out, for a new run that begins with these weights.',
        {faults},
      );
    }
  }

  private unknownTotal(): never {
    throw new LoRAError(
      'The schedule does not know the number of steps, because the dataset does not report it. Pass {steps}.',
    );
  }
}

/**
 * Raises the learning rate at first, then lowers it until the end. The optimizer's own rate is the highest; it is
 * restored after the fit. In step `t` of `T`, with `w` of warm-up, the rate is multiplied by
 *
 *     (t + 1) / w                            for t < w
 *     ½ · (1 + cos(π · (t − w) / (T − w)))   cosine
 *     1 − (t − w) / (T − w)                  linear
 *
 * In a custom loop, call `schedule.set(optimizer, step)` before each step.
 *
 * @param options the shape, the share of steps to warm up in, and the number of steps if it is not known.
 * @returns a callback for `fit` and `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range.
 * @example
 *     await model.fit(xs, ys, {epochs: 5, callbacks: [learningRateSchedule({warmup: 0.1})]});
 */
export function learningRateSchedule(options: ScheduleOptions = {}): LearningRateSchedule {
  checkOptions(options, {warmup: true, steps: true, shape: true}, "learningRateSchedule({shape: 'cosine'})");
  return new ScheduleCallback(options);
}
