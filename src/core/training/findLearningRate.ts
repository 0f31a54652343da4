import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, checkOptions, notReadyError, unsupportedError} from '../../platform/errors';
import {asFitOf, fittedModel} from '../model/fits';
import {innermostLayers} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {withOptimizer} from '../../platform/tfjs/training';
import {setLearningRate} from './learningRate';
import {optimizerFrom} from './nestedOptimizer';
import {copyRandomStates, restoreRandomStates} from './randomState';
import {type ExampleTensors, type SeededBatches, seededBatches} from './seededBatches';
import {areFinite, changingVariables, Snapshot, trainedVariables} from './snapshot';

/** Options of `findLearningRate`. */
export interface SweepOptions extends CallOptions {
  /** The rate of the first step. Default: 1e-6. */
  from?: number;
  /** The rate of the last step, unless the loss diverges before. Default: 1. */
  to?: number;
  /** How many steps there are. Default: 100. */
  steps?: number;
  /** Default: 32. */
  batchSize?: number;
  /** Decides the order of the examples. Default: 0. */
  seed?: number;
}

/** One step of a sweep. */
export interface SweepStep {
  /** The learning rate of the step. */
  learningRate: number;
  /** The loss of the batch before the step. */
  loss: number;
  /** The smoothed loss: the value here of a line through the losses of a tenth of the steps on either side. */
  smoothed: number;
}

/** The result of `findLearningRate`. */
export interface LearningRateSweep {
  /** A step for each rate, up to where the loss reached four times its minimum. */
  steps: SweepStep[];
  /** The smoothed loss over log10 of the rate, as `tfvis.render.scatterplot` takes it. */
  curve: {x: number; y: number}[];
  /**
   * The rate at which the smoothed loss falls fastest before its minimum; `undefined` if it never falls by more than
   * the noise of single batches explains, as with a converged model or very few examples.
   */
  suggestion: number | undefined;
}

/** The share of the former value in the running mean, which shows whether the loss has diverged. */
const SMOOTHING = 0.9;
/** The loss has diverged at this many times its minimum. */
const EXPLODED = 4;
/** The share of all steps on either side that the smoothing line covers, and their minimum number. */
const [AROUND, LEAST_AROUND] = [0.1, 4];
/** A slope counts from this many standard errors. Noise alone has it in one of several hundred sweeps. */
const CLEAR = 4;

/**
 * Tries learning rates: one step at each, from tiny to large, on the model as it is, with a new optimizer of the class
 * and options that it was compiled with. Restores trainable weights, the optimizer and the random state afterwards.
 * (Smith, arXiv 1506.01186.)
 *
 *     const {suggestion, curve} = await findLearningRate(model, xs, ys);
 *     tfvis.render.scatterplot({name: 'loss'}, {values: [curve]},
 *     {xLabel: 'log10 of the learning rate', zoomToFit: true});
 *
 * A good rate is somewhat below the one where the loss is lowest; the suggestion is where it falls fastest. There is no
 * suggestion if the loss does not fall beyond the noise of single batches. Then keep the rate, or sweep a new adapter.
 *
 * @param model a compiled model, adapted or not.
 * @param xs inputs, `[examples, …]`; several in a list, or by name.
 * @param ys targets, as many as inputs.
 * @param options the range of rates, and how many steps to take.
 * @returns a promise of the curve of the loss, and the suggested rate.
 * @throws LoRAError `ERR_NOT_READY` if the model is not compiled, `ERR_BUSY` if it is training, `ERR_UNSUPPORTED` if it
 *     has stateful layers, `ERR_OPTION` if an option is not in its range, `ERR_ABORTED` if the signal is aborted.
 * @experimental
 */
export async function findLearningRate(
  model: tf.LayersModel,
  xs: ExampleTensors,
  ys: ExampleTensors,
  options: SweepOptions = {},
): Promise<LearningRateSweep> {
  checkModel(model);
  checkOptions(options, {
    ...{from: true, to: true, steps: true, batchSize: true, seed: true},
    ...{signal: true, onProgress: true},
  });
  checkCallOptions(options);
  const {from = 1e-6, to = 1, steps = 100, batchSize = 32, seed = 0} = options;
  checkNumber('from', from, from > 0, 'a number above 0');
  checkNumber('to', to, to > from, `a number above from, ${from}`);
  checkCount('steps', steps, 10);
  const batches = seededBatches(xs, ys, {batchSize, seed});
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  if (optimizer === undefined) {
    throw notReadyError('The model is not compiled. Call model.compile({optimizer, loss}) first.');
  }
  const stateful = [...innermostLayers(model)].find(layer => layer.stateful);
  if (stateful !== undefined) {
    throw unsupportedError(
      `Layer "${stateful.name}" is stateful: a sweep would change what it remembers. Sweep a copy of the model.`,
    );
  }
  const rates = Array.from({length: steps}, (_, i) => from * (to / from) ** (i / (steps - 1)));
  return asFitOf(model, model, async () => {
    const subject = fittedModel(model);
    const before = new Snapshot(changingVariables(subject));
    const random = copyRandomStates(subject);
    const trial = optimizerFrom({className: optimizer.getClassName(), config: optimizer.getConfig()});
    try {
      const losses = await withOptimizer(subject, trial, () => sweep(subject, trial, batches, rates, options));
      return outcomeOf(losses, rates);
    } finally {
      before.restore();
      restoreRandomStates(subject, random);
      before.dispose();
      trial.dispose();
    }
  });
}

async function sweep(
  model: tf.LayersModel,
  optimizer: tf.Optimizer,
  batches: SeededBatches,
  rates: readonly number[],
  options: CallOptions,
): Promise<number[]> {
  const step = stepsOf(options);
  const losses: number[] = [];
  const variables = trainedVariables(model);
  let iterator = await batches.iterator();
  let sum = 0;
  let least = Infinity;
  for (const [i, learningRate] of rates.entries()) {
    await step({done: i, total: rates.length, what: 'trying learning rates'});
    let next = await iterator.next();
    if (next.done) {
      iterator = await batches.iterator();
      next = await iterator.next();
    }
    const {xs, ys} = next.value as {xs: tf.Tensor; ys: tf.Tensor};
    setLearningRate(optimizer, learningRate);
    const [loss = NaN] = [await model.trainOnBatch(xs, ys)].flat();
    tf.dispose([xs, ys]);
    sum = SMOOTHING * sum + (1 - SMOOTHING) * loss;
    const mean = sum / (1 - SMOOTHING ** (i + 1));
    if (!Number.isFinite(loss) || mean > EXPLODED * least) {
      break;
    }
    least = Math.min(least, mean);
    losses.push(loss);
    if (!(await areFinite(variables))) {
      break;
    }
  }
  return losses;
}

function outcomeOf(losses: readonly number[], rates: readonly number[]): LearningRateSweep {
  const around = Math.max(LEAST_AROUND, Math.round(AROUND * rates.length));
  const lines = losses.map((_, i) => lineThrough(losses, i, around));
  const steps = losses.map((loss, i) => ({
    learningRate: rates[i] as number,
    loss,
    smoothed: (lines[i] as Line).value,
  }));
  const curve = steps.map(({learningRate, smoothed}) => ({x: Math.log10(learningRate), y: smoothed}));
  const least = Math.min(...steps.map(({smoothed}) => smoothed));
  const falling = steps.slice(0, steps.findIndex(({smoothed}) => smoothed === least) + 1);
  const clear = falling
    .map(({learningRate}, i) => ({learningRate, ...(lines[i] as Line)}))
    .filter(({slope, error}) => -slope > CLEAR * error);
  const steepest = Math.min(...clear.map(({slope}) => slope));
  return {steps, curve, suggestion: clear.find(({slope}) => slope === steepest)?.learningRate};
}

/** A straight line through losses, at one of them. The rates are evenly spaced, so the unit is a step. */
interface Line {
  value: number;
  slope: number;
  /** The standard error of the slope, from the distances of the losses to the line. */
  error: number;
}

/** The line of least squares through the losses from `around` before one to `around` after it, where there are any. */
function lineThrough(losses: readonly number[], at: number, around: number): Line {
  const start = Math.max(0, at - around);
  const points = losses.slice(start, at + around + 1);
  const mean = points.reduce((sum, loss) => sum + loss, 0) / points.length;
  const middle = (points.length - 1) / 2;
  const sumOf = (f: (x: number, y: number) => number) =>
    points.reduce((sum, loss, i) => sum + f(i - middle, loss - mean), 0);
  const spread = sumOf(x => x * x);
  const slope = sumOf((x, y) => x * y) / spread;
  const residuals = sumOf((x, y) => (y - slope * x) ** 2);
  return {
    value: mean + slope * (at - start - middle),
    slope,
    error: Math.sqrt(residuals / (points.length - 2) / spread),
  };
}
