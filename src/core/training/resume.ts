import * as tf from '@tensorflow/tfjs';
import {
  busyError,
  checkOptions,
  faultLines,
  messageOf,
  misfitError,
  notReadyError,
  numericError,
} from '../../platform/errors';
import {type CallOptions, checkCallOptions, type Step, stepsOf} from '../../platform/signals';
import {fittedModel} from '../model/fits';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isTraining} from '../../platform/tfjs/training';
import {checkBatches, checkPlaces, keptAt} from './checkpoint';
import {type Checkpoint, type CheckpointPlace, type CheckpointState, slotOf, readCheckpoint} from './checkpointFile';
import {registerEpochMeans} from './epochMeans';
import {checkOptimizerState, restoreOptimizer} from './optimizerState';
import {restoreRandomStates} from './randomState';
import {setResumed} from './resumed';
import {checkKept, checkWeights, partsNotFinite, partsOf} from './runState';
import type {SeededBatches, SeededDataset} from './seededBatches';
import {changingVariables, writeValues} from './snapshot';

/** Options of `resume`. */
export interface ResumeOptions extends CallOptions {
  /** As in `checkpoint`. */
  keep?: number;
  /** The batches for `fitDataset`. They are set to the position of the run. */
  batches?: SeededBatches;
}

/** Where a run continues. Spread it into the arguments of `fit` or `fitDataset`. */
export interface ResumedRun {
  /** 0 if there is no checkpoint. */
  initialEpoch: number;
  /** How many steps the run has taken. */
  step: number;
  /** What was wrong with newer checkpoints that were skipped. */
  passedOver: string[];
}

/**
 * Lets a compiled model continue from the newest checkpoint of `checkpoint`: its weights, the optimizer, and the
 * callbacks of the next fit. Damaged checkpoints, or those of another model, are skipped in favor of the one before.
 * Without a checkpoint, the run starts from the beginning.
 *
 *     const batches = seededBatches(xs, ys, {batchSize: 32, seed: 7});
 *     await model.fitDataset(batches, {
 *       epochs: 20,
 *       ...(await resume(model, 'file://out/run', {batches})),
 *       callbacks: [learningRateSchedule({warmup: 0.1}), checkpoint('file://out/run', {batches})],
 *     });
 *
 * A resumed run ends with the same values as an uninterrupted one, if its order is seeded or `shuffle: false`.
 *
 * @param model made, adapted and compiled as in the run that is resumed.
 * @param place where `checkpoint` saves.
 * @param options the batches of the run, how many checkpoints are kept, `signal` and `onProgress`.
 * @returns a promise of arguments for `fit` or `fitDataset`: where to begin.
 * @throws LoRAError `ERR_NOT_READY` if the model is not compiled, `ERR_BUSY` if it is training, `ERR_MISFIT` if there
 *     are checkpoints and none is whole and of this model, optimizer and seed; `ERR_ABORTED`. Then nothing is changed.
 */
export function resume(
  model: tf.LayersModel,
  place: CheckpointPlace,
  options: ResumeOptions = {},
): Promise<ResumedRun> {
  return resumeRun(model, place, options);
}

/**
 * As `resume`.
 *
 * @param accept throws if a checkpoint is of another run, for a reason that the model does not show.
 */
export async function resumeRun(
  model: tf.LayersModel,
  place: CheckpointPlace,
  options: ResumeOptions,
  accept: (state: CheckpointState) => void = () => undefined,
): Promise<ResumedRun> {
  checkModel(model);
  checkOptions(options, {keep: true, batches: true, signal: true, onProgress: true});
  checkCallOptions(options);
  const {keep = keptAt(place), batches} = options;
  checkPlaces(place, keep);
  checkBatches(batches);
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  if (optimizer === undefined) {
    throw notReadyError(
      'The model is not compiled. Call model.compile({optimizer, loss}) first, as in the run that is resumed.',
    );
  }
  registerEpochMeans();
  const {checkpoints, faults} = await findCheckpoints(place, keep, stepsOf(options));
  try {
    const broken = await Promise.all(checkpoints.map(checkpoint => partsNotFinite(fittedModel(model), checkpoint)));
    if (isTraining(fittedModel(model))) {
      throw busyError('The model is training. Call resume before fit.');
    }
    for (const [i, checkpoint] of checkpoints.entries()) {
      try {
        check(fittedModel(model), checkpoint, batches);
        accept(checkpoint.state);
        if (broken[i] !== undefined) {
          throw numericError(broken[i]);
        }
      } catch (error) {
        faults.push(messageOf(error));
        continue;
      }
      return restore(fittedModel(model), checkpoint, batches, faults);
    }
  } finally {
    checkpoints.forEach(({tensors}) => tf.dispose(tensors));
  }
  if (faults.length > 0) {
    const distinct = [...new Set(faults)];
    throw misfitError(`No checkpoint is of use here:\n${faultLines(distinct)}\nTo begin anew, choose another place.`, {
      faults: distinct,
    });
  }
  return {initialEpoch: 0, step: 0, passedOver: []};
}

/** The checkpoints at a place, the newest first, and the faults of the others. */
async function findCheckpoints(
  place: CheckpointPlace,
  keep: number,
  step: Step,
): Promise<{checkpoints: Checkpoint[]; faults: string[]}> {
  const checkpoints: Checkpoint[] = [];
  const faults: string[] = [];
  const report = (done: number) =>
    step({done, total: keep, what: 'reading checkpoints'}).catch((error: unknown) => {
      checkpoints.forEach(({tensors}) => tf.dispose(tensors));
      throw error;
    });
  for (let slot = 0; slot < keep; slot++) {
    await report(slot);
    try {
      checkpoints.push(await readCheckpoint(slotOf(place, slot, keep)));
    } catch (error) {
      // An error of this library, or Node's.
      if (!['ERR_NOT_FOUND', 'ENOENT'].includes(String((error as {code?: unknown}).code))) {
        faults.push(messageOf(error));
      }
    }
  }
  await report(keep);
  checkpoints.sort((one, other) => other.state.number - one.state.number);
  return {checkpoints, faults};
}

function check(model: tf.LayersModel, checkpoint: Checkpoint, batches: SeededDataset | undefined): void {
  const {state} = checkpoint;
  const {variables, slots, callbacks} = partsOf(checkpoint);
  checkWeights(model, state, variables);
  checkKept(model, callbacks);
  checkOptimizerState(model.optimizer, state.optimizer, slots, model.trainableWeights);
  if (batches !== undefined && state.seed !== batches.seed) {
    throw misfitError(
      `The seed of the batches is ${batches.seed}, and was ` +
        `${state.seed ?? 'not saved: pass batches to checkpoint too'}.`,
    );
  }
}

function restore(
  model: tf.LayersModel,
  checkpoint: Checkpoint,
  batches: SeededDataset | undefined,
  passedOver: string[],
): ResumedRun {
  const {number, epoch, batch, step, optimizer, random} = checkpoint.state;
  const {variables, slots, callbacks} = partsOf(checkpoint);
  writeValues(changingVariables(model), variables);
  restoreOptimizer(model.optimizer, optimizer, slots, model.trainableWeights);
  restoreRandomStates(model, random);
  batches?.startAt(epoch, batch);
  const states = new Map(
    [...callbacks].map(([stateName, {values, tensors}]) => {
      const copies = Object.entries(tensors).map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))] as const);
      return [stateName, {values, tensors: Object.fromEntries(copies)}] as const;
    }),
  );
  const {iterations} = model.optimizer;
  setResumed(model, {epoch, batch: batches === undefined ? 0 : batch, step, iterations, number, states});
  return {initialEpoch: epoch, step, passedOver};
}
