import * as tf from '@tensorflow/tfjs';
import {pendingKernels} from '../../backends/shared/capabilities';
import {busyError, listed, misfitError} from '../../platform/errors';
import {type Fit, adapterState} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {childrenOf, containersOf} from '../rewire/walk';
import {isContainer} from '../../platform/tfjs/checkModel';
import {hasOwnOptimizer} from '../../platform/tfjs/compiled';
import {arrangeSlots, foreignMoments, ownSlots} from '../../platform/tfjs/slots';
import {asTraining, isTraining, stepOf, trainedIn, watchTrainOnBatch} from '../../platform/tfjs/training';
import {warnIfForgotten} from './adapted';

/** Layer → the mark of its adapter at some time, which changes with the adapter. */
type AdapterVersions = ReadonlyMap<tf.layers.Layer, object>;

/** Model that trains → the versions that its fit began with, if they changed before the fit's first callback. */
const versionsAtStart = new WeakMap<tf.layers.Layer, AdapterVersions>();

/**
 * Notes which adapter each fit began with. tfjs makes one for every fit of every model, and calls it before the
 * callbacks of the user. So a step follows each of its `onBatchBegin`, unless the user's own delays it.
 */
class FitWatch extends tf.Callback {
  private fit: Fit | undefined;
  private hasStepped = false;

  override setModel(model: Parameters<tf.Callback['setModel']>[0]): void {
    warnIfForgotten(model);
    const began = versionsAtStart.get(model);
    versionsAtStart.delete(model);
    const fit: Fit = {model, isGoingOn: () => isTraining(model), watch: FitWatch, atStep: false};
    for (const layer of wrappersIn(model)) {
      const {fits, mark} = adapterState(layer);
      // A fit that failed does not end with a callback. Entries of another copy of this module remain.
      [...fits.keys()]
        .filter(other => other.watch === FitWatch && (other.model === model || !other.isGoingOn()))
        .forEach(other => fits.delete(other));
      fits.set(fit, began?.get(layer) ?? mark);
    }
    this.fit = fit;
  }

  override async onTrainBegin(): Promise<void> {
    const {fit} = this;
    if (fit !== undefined) {
      const model = fit.model as tf.LayersModel;
      checkMoments(model);
      if (isOwnFit(model)) {
        const {optimizer, variables} = stepOf(model);
        arrangeSlots(optimizer, variables);
      }
    }
    await this.setInStep(false);
  }

  override onEpochBegin(): Promise<void> {
    return this.setInStep(false);
  }

  override onBatchBegin(): Promise<void> {
    return this.setInStep(true);
  }

  override onBatchEnd(): Promise<void> {
    if (this.fit !== undefined && !this.hasStepped) {
      this.hasStepped = true;
      ownMoments(this.fit.model);
    }
    return this.setInStep(false);
  }

  override onEpochEnd(): Promise<void> {
    return this.setInStep(false);
  }

  override onTrainEnd(): Promise<void> {
    const {fit} = this;
    if (fit !== undefined) {
      ownMoments(fit.model); // one that accumulates may take its first step late
      wrappersIn(fit.model).forEach(layer => adapterState(layer).fits.delete(fit));
    }
    return this.setInStep(false);
  }

  private setInStep(atStep: boolean): Promise<void> {
    if (this.fit !== undefined) {
      this.fit.atStep = atStep;
      // Any change since the last callback happened during this fit, not before the next one.
      versionsAtStart.delete(this.fit.model);
    }
    return Promise.resolve();
  }
}
tf.registerCallbackConstructor(0, FitWatch);
watchTrainOnBatch(warnIfForgotten);

/** Whether this library answers for the moments of a fit: its model is adapted, or the optimizer is of this library. */
function isOwnFit(model: tf.LayersModel): boolean {
  return wrappersIn(model).length > 0 || hasOwnOptimizer(stepOf(model).optimizer);
}

function ownMoments(model: tf.layers.Layer): void {
  const {optimizer, variables} = stepOf(model as tf.LayersModel);
  ownSlots(optimizer, variables);
}

/**
 * Refuses an optimizer that has the moments of another model, which it would take for those of this one: tfjs finds
 * them by index.
 *
 * @param model what tfjs fits: the model inside a Sequential, or a piece of a model.
 * @throws LoRAError if variables of another model still exist.
 */
export function checkMoments(model: tf.LayersModel): void {
  if (isOwnFit(model)) {
    const names = foreignMoments(stepOf(model).optimizer, fittedModel(model));
    if (names.length > 0) {
      throw misfitError(
        `The optimizer of "${model.name}" has moments of another model, which was trained with it: of ` +
          `${listed(names, 5)}. Compile each model with its own optimizer, such as adam(). To use this one for ` +
          `"${model.name}" alone from now on, call resetOptimizer(model) first.`,
      );
    }
  }
}

/** Call this before an adapter changes: a fit without a callback yet began with the model's current adapter. */
export function noteVersionsAtStart(model: tf.LayersModel): void {
  for (const [, container] of containersOf(model)) {
    const trained = isContainer(container) ? trainedIn(container) : undefined;
    if (trained !== undefined && isTraining(trained) && !versionsAtStart.has(trained)) {
      versionsAtStart.set(trained, versionsOf(trained));
      void forgetIfOver(trained);
    }
  }
}

/** How many microtasks to wait. A fit needs 11 from its last callback to its end. */
export const MICROTASKS = 100;

/** Forgets the noted marks if no fit begins: the last one was about to end, or the next one failed early. */
async function forgetIfOver(trained: tf.LayersModel): Promise<void> {
  for (let count = 0; count < MICROTASKS && isTraining(trained); count++) {
    await Promise.resolve();
  }
  if (!isTraining(trained)) {
    versionsAtStart.delete(trained);
  }
}

/**
 * Runs `f`, which trains a model by fitting a piece of it. During the call, tfjs refuses another fit of the model, and
 * the fit of the piece counts as begun now.
 *
 * @throws LoRAError if the model is training already.
 */
export async function asFitOf<T>(model: tf.LayersModel, piece: tf.LayersModel, f: () => Promise<T>): Promise<T> {
  const trained = trainedIn(model);
  if (isTraining(trained)) {
    throw busyError('The model is already training: another fit is running. Await it first.');
  }
  modelOfPiece.set(piece, model);
  versionsAtStart.set(piece, versionsOf(piece));
  starts.set(piece, tf.util.now());
  try {
    const pending = pendingKernels.current();
    return await asTraining(trained, pending === undefined ? f : () => pending.over().then(f));
  } finally {
    versionsAtStart.delete(trained);
    starts.delete(piece);
  }
}

/** Piece → when `asFitOf` began, in milliseconds of `tf.util.now`. */
const starts = new WeakMap<tf.layers.Layer, number>();

/** When the call began that trains a model by a fit of this piece; `undefined` for a model that is fitted itself. */
export function fitBegan(piece: tf.LayersModel): number | undefined {
  return starts.get(piece);
}

/** Piece → the model that a fit of the piece trains. */
const modelOfPiece = new WeakMap<tf.layers.Layer, tf.LayersModel>();

/** The model that tfjs fits, given the model itself, a Sequential around it, or a piece of it. */
export function fittedModel(model: tf.LayersModel): tf.LayersModel {
  return trainedIn(modelOfPiece.get(model) ?? model);
}

function versionsOf(model: tf.layers.Layer): AdapterVersions {
  return new Map(wrappersIn(model).map(layer => [layer, adapterState(layer).mark]));
}

/** The layers of this library in a model. Unlike `sitesOf`, this accepts every model that tfjs trains. */
function wrappersIn(model: tf.layers.Layer): tf.layers.Layer[] {
  const layers = new Set<tf.layers.Layer>();
  const visit = (layer: tf.layers.Layer) => {
    if (isWrapper(layer)) {
      layers.add(layer);
    }
    childrenOf(layer)?.forEach(visit);
  };
  visit(model);
  return [...layers];
}
