import * as tf from '@tensorflow/tfjs';
import {
  checkCount,
  checkNumber,
  checkOptions,
  kindOf,
  listed,
  LoRAError,
  misfitError,
  show,
} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {logNames, objectivesOf} from '../../platform/tfjs/training';
import {BestAdapterCallback, isBetterHigh} from './bestAdapter';
import type {CallbackState} from './resumed';
import {changingVariables, layersNotFinite, Snapshot, trainedVariables} from './snapshot';
import {SnapshotCallback} from './snapshotCallback';
import {quoted} from './stopOnNaN';

/** Options of `keepIfBetter`. */
export interface KeepIfBetterOptions {
  /** Held-out examples: inputs and targets, as for `fit`. They stay the caller's. */
  validationData?: readonly [xs: tf.Tensor | tf.Tensor[], ys: tf.Tensor | tf.Tensor[]];
  /**
   * Scores held-out examples with the model as it is, instead of `validationData`: a number for each, always in the
   * same order, such as the rewards of generated answers. Higher is better.
   */
  scores?: () => readonly number[] | Promise<readonly number[]>;
  /** The metric to compare, by its name in the logs, such as `'acc'`; for `scores`, any name. Default: `'loss'`. */
  metric?: string;
  /** How much better the new adapter must be, in units of the metric. Default: 0. */
  margin?: number;
  /** The value that the new adapter must reach in any case; for losses, the highest. Default: none. */
  minimum?: number;
  /** How certain the gain must be, from 0.5 to 1. Default: 0.95. */
  confidence?: number;
  /** How many examples are predicted at a time. Default: 32. */
  batchSize?: number;
  /** Decides the bootstrap samples: a whole number. Default: 0. */
  seed?: number;
}

/** How many samples the bootstrap draws. */
const SAMPLES = 2000;

/** The callback that `keepIfBetter` makes. */
export interface KeepIfBetter extends tf.Callback {
  /** Whether the new adapter is kept, once the fit is over. */
  readonly kept: boolean | undefined;
  /** Why, as a sentence. */
  readonly reason: string | undefined;
  /** The mean of the metric on the held-out examples before the fit. */
  readonly before: number | undefined;
  /** The mean of the metric on the held-out examples after the fit. */
  readonly after: number | undefined;
  /** The gain that is exceeded with the given confidence, in units of the metric. */
  readonly atLeast: number | undefined;
}

/** @throws LoRAError if held-out examples are not inputs and targets of the same number. */
function checkData(data: unknown): void {
  const tensors: unknown[] = Array.isArray(data) && data.length === 2 ? data.flat() : [];
  if (tensors.length < 2 || tensors.some(tensor => !(tensor instanceof tf.Tensor) || tensor.rank === 0)) {
    throw new LoRAError(`validationData must be [xs, ys], tensors of held-out examples, got ${kindOf(data)}.`);
  }
  const counts = new Set((tensors as tf.Tensor[]).map(({shape}) => shape[0]));
  if (counts.size > 1 || Math.max(...counts) < 2) {
    throw misfitError(
      `validationData must have the same number of inputs and targets, at least two, got ${[...counts].join(' and ')}.`,
    );
  }
}

/** Its snapshot has the values before the fit. */
class KeepIfBetterCallback extends SnapshotCallback implements KeepIfBetter {
  /** The key of its state in checkpoint files, which must not change. */
  override readonly stateName = 'improves';
  kept: boolean | undefined;
  reason: string | undefined;
  before: number | undefined;
  after: number | undefined;
  atLeast: number | undefined;

  constructor(private readonly options: KeepIfBetterOptions) {
    super();
    const {validationData, scores, metric = 'loss', margin = 0, minimum = 0, confidence = 0.95} = options;
    if (scores === undefined) {
      checkData(validationData);
    } else if (typeof scores !== 'function' || validationData !== undefined) {
      throw new LoRAError(
        `scores must be a function that returns a number for each held-out example, without validationData, got ` +
          `${kindOf(scores)}.`,
      );
    }
    if (typeof metric !== 'string' || metric === '') {
      throw new LoRAError(`metric must be a name in the logs, such as "acc", got ${show(metric)}.`);
    }
    checkNumber('margin', margin, margin >= 0, 'a number that is not negative');
    checkNumber('minimum', minimum, true, 'a number');
    checkNumber('confidence', confidence, confidence >= 0.5 && confidence < 1, 'a number from 0.5 to 1, such as 0.95');
    checkCount('batchSize', options.batchSize ?? 32);
    checkNumber('seed', options.seed ?? 0, Number.isSafeInteger(options.seed ?? 0), 'a whole number');
  }

  protected override begin(): void {
    const {metric = 'loss'} = this.options;
    if (this.options.scores === undefined && objectivesOf(this.subject, metric) === undefined) {
      throw misfitError(`There is no ${show(metric)} in the logs. There are: ${listed([...logNames(this.subject)])}.`);
    }
    this.variables = changingVariables(this.subject);
    this.takeSnapshot();
    this.kept = undefined;
  }

  override async onTrainEnd(): Promise<void> {
    // The best adapter is the one to judge, whichever callback comes first.
    this.all.filter(callback => callback instanceof BestAdapterCallback).forEach(callback => callback.abandon());
    await super.onTrainEnd();
    const {snapshot} = this;
    if (snapshot === undefined) {
      return;
    }
    const trained = new Snapshot(this.variables);
    try {
      const spoilt = await layersNotFinite(trainedVariables(this.subject), trained.tensors);
      const after = await this.scores();
      snapshot.restore();
      this.judge(await this.scores(), after, spoilt);
    } finally {
      if (this.kept === true) {
        trained.restore();
      }
      trained.dispose();
      this.release();
    }
  }

  /** Brings the earlier adapter back. */
  override abandon(): void {
    this.snapshot?.restore();
    this.release();
  }

  override state(): CallbackState | undefined {
    return this.snapshot && {values: {}, tensors: {...this.snapshot.tensors}};
  }

  protected override resume({tensors}: CallbackState): void {
    this.takeSnapshotOf(tensors);
  }

  /** The metric of each held-out example. */
  private async scores(): Promise<number[]> {
    const {validationData = [], scores: ofCaller, metric = 'loss', batchSize = 32} = this.options;
    if (ofCaller !== undefined) {
      const scores: unknown = await ofCaller();
      if (!Array.isArray(scores) || !scores.every(score => typeof score === 'number')) {
        throw new LoRAError(`scores must return a number for each held-out example, got ${kindOf(scores)}.`);
      }
      return scores;
    }
    const [xs, ys] = validationData.map(tensors => [tensors].flat()) as [tf.Tensor[], tf.Tensor[]];
    const objectives = objectivesOf(this.subject, metric) ?? [];
    const count = xs[0]?.shape[0] ?? 0;
    const scores: number[] = [];
    for (let from = 0; from < count; from += batchSize) {
      const size = Math.min(batchSize, count - from);
      const values = tf.tidy(() => {
        const examplesOf = (tensor: tf.Tensor, at = from, rows = size) => tf.slice(tensor, at, rows);
        const inputs = xs.map(tensor => examplesOf(tensor));
        const outputs = [this.subject.predict(inputs.length === 1 ? (inputs[0] as tf.Tensor) : inputs)].flat();
        const rowScores = Array.from({length: size}, (_, row) =>
          objectives.map(([objective, output]) => {
            const targets = examplesOf(ys[output] as tf.Tensor, from + row, 1);
            const column = targets.rank === 1 ? tf.expandDims(targets, 1) : targets; // as tfjs does
            return tf.mean(objective(column, examplesOf(outputs[output] as tf.Tensor, row, 1)));
          }),
        );
        return tf.stack(rowScores.map(parts => tf.addN(parts)));
      });
      scores.push(...(await values.data()));
      values.dispose();
    }
    return scores;
  }

  private judge(before: readonly number[], after: readonly number[], spoilt: readonly string[]): void {
    const {metric = 'loss', margin = 0, minimum, confidence = 0.95, seed = 0} = this.options;
    const sign = this.options.scores !== undefined || isBetterHigh(metric) ? 1 : -1;
    // The metric of an example in which nothing counts is NaN with both adapters. It may also be infinite with both,
    // which leaves no difference to measure.
    const pairs = before
      .map((old, i) => [old, after[i] ?? NaN] as const)
      .filter(([old, now]) => !Number.isNaN(old) && (Number.isFinite(old) || old !== now));
    const gains = pairs.map(([old, now]) => sign * (now - old));
    const [was, now] = [0, 1].map(i => mean(pairs.map(pair => pair[i] as number))) as [number, number];
    const broken = pairs.filter(([, now]) => !Number.isFinite(now)).length;
    this.atLeast = broken > 0 ? NaN : lowerBound(gains, confidence, seed);
    [this.before, this.after] = [was, now];
    const numbers = `${metric} went from ${shown(was)} to ${shown(now)} on ${pairs.length} examples`;
    const bound = `with ${100 * confidence} % confidence the gain is at least ${shown(this.atLeast)}`;
    const objections: [applies: boolean, text: string][] = [
      [spoilt.length > 0, `; the weights of ${quoted(spoilt)} were no longer finite`],
      [broken > 0, `; for ${broken} of them it was no longer finite`],
      [minimum !== undefined && !(sign * now >= sign * minimum), `, which does not reach ${minimum}`],
      [!(this.atLeast > margin), `; ${bound}, which is not above ${margin}`],
    ];
    const [, objection] = objections.find(([applies]) => applies) ?? [];
    this.kept = objection === undefined;
    this.reason = numbers + (objection === undefined ? `; ${bound}.` : `${objection}. The earlier adapter is back.`);
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function shown(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** The value that means of bootstrap samples exceed with this confidence. */
function lowerBound(values: readonly number[], confidence: number, seed: number): number {
  const random = randomNumbers(seed, 0);
  const means = Float64Array.from({length: SAMPLES}, () => {
    const drawn = values.map(() => values[Math.floor((random() / 2 ** 32) * values.length)] as number);
    return mean(drawn);
  });
  // Gains may be infinite, so that a difference of two has no sign. Typed arrays sort by value.
  return means.sort()[Math.floor((1 - confidence) * SAMPLES)] ?? NaN;
}

/**
 * Keeps what a fit has learned only if it is better on held-out examples than before, by more than chance, and restores
 * the earlier adapter otherwise. A model that keeps learning from use then doesn't get worse.
 *
 * The metric of each example is compared before and after the fit (paired bootstrap of 2,000 samples): the gain must
 * exceed `margin` with the given confidence. An adapter is not kept if its weights, or the metric of an example that
 * was finite, are not. `kept` and `reason` of the callback say what was decided. With `bestAdapter`, the best epoch is
 * judged. If the earlier adapter is restored, call `resetOptimizer(model)` before the next fit. For a plain model, all
 * weights that train are restored.
 *
 * @param options the held-out examples or scores of them, the metric, and how much better it must be.
 * @returns a callback for `fit`, `fitDataset` and `fitOnFeatures`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range, `ERR_MISFIT` if the numbers of inputs and targets
 *   differ. `fit` rejects with `ERR_MISFIT` if there is no such metric.
 * @example
 *     const gate = keepIfBetter({validationData: [xs, ys], metric: 'acc'});
 *     await model.fit(newXs, newYs, {epochs: 5, callbacks: [gate]});
 *     console.log(gate.kept, gate.reason);
 * @experimental
 */
export function keepIfBetter(options: KeepIfBetterOptions): KeepIfBetter {
  checkOptions(
    options,
    {
      ...{validationData: true, scores: true, metric: true, margin: true, minimum: true, confidence: true},
      ...{batchSize: true, seed: true},
    },
    'keepIfBetter({validationData: [xs, ys]})',
  );
  return new KeepIfBetterCallback(options);
}
