import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {type Fit, inForce} from '../layers/inForce';
import {isWrapper} from '../layers/wrapperLayer';
import {childrenOf, containersOf, isContainer} from '../rewire/walk';
import {asTraining, isTraining, trainedIn} from '../tfjs/training';

/** The marks of a model's layers at some time. */
type Marks = ReadonlyMap<tf.layers.Layer, object>;

/**
 * Of models that are training, the marks that their fit began with, where these have changed before its first callback.
 */
const beginnings = new WeakMap<tf.layers.Layer, Marks>();

/**
 * What tells each fit with which adapter it began. tfjs makes one for every fit of every model and calls it before the
 * callbacks of the user, so a batch that has begun here comes to its step unless a user's `onBatchBegin` holds it up.
 */
class FitWatch extends tf.Callback {
  private fit: Fit | undefined;

  override setModel(model: Parameters<tf.Callback['setModel']>[0]): void {
    const began = beginnings.get(model);
    beginnings.delete(model);
    const fit: Fit = {model, isGoingOn: () => isTraining(model), watch: FitWatch, atStep: false};
    for (const layer of wrappersIn(model)) {
      const {fits, mark} = inForce(layer);
      // A fit that failed does not say so. Another copy of this module watches the same fits.
      [...fits.keys()]
        .filter(other => other.watch === FitWatch && (other.model === model || !other.isGoingOn()))
        .forEach(other => fits.delete(other));
      fits.set(fit, began?.get(layer) ?? mark);
    }
    this.fit = fit;
  }

  override onTrainBegin(): Promise<void> {
    return this.alive(false);
  }

  override onEpochBegin(): Promise<void> {
    return this.alive(false);
  }

  override onBatchBegin(): Promise<void> {
    return this.alive(true);
  }

  override onBatchEnd(): Promise<void> {
    return this.alive(false);
  }

  override onEpochEnd(): Promise<void> {
    return this.alive(false);
  }

  override onTrainEnd(): Promise<void> {
    const {fit} = this;
    if (fit !== undefined) {
      wrappersIn(fit.model).forEach(layer => inForce(layer).fits.delete(fit));
    }
    return this.alive(false);
  }

  private alive(atStep: boolean): Promise<void> {
    if (this.fit !== undefined) {
      this.fit.atStep = atStep;
      // What changed since its last callback changed during this fit, and not before the first callback of the next
      // one.
      beginnings.delete(this.fit.model);
    }
    return Promise.resolve();
  }
}
tf.registerCallbackConstructor(0, FitWatch);

/**
 * To be called before the adapter of a model changes. A fit may have been called already and have made no callback yet:
 * it began with the adapter that the model has now.
 */
export function noteBeginnings(model: tf.LayersModel): void {
  for (const [, container] of containersOf(model)) {
    const trained = isContainer(container) ? trainedIn(container) : undefined;
    if (trained !== undefined && isTraining(trained) && !beginnings.has(trained)) {
      beginnings.set(trained, marksOf(trained));
      void forgetIfOver(trained);
    }
  }
}

/**
 * How many turns of the queue of promises a fit takes at most from its last callback to its end. There are about ten.
 */
const TURNS = 100;

/**
 * Forgets what was noted of a model if there was no next fit to begin: a fit that was ending, or one that fails before
 * it begins.
 */
async function forgetIfOver(trained: tf.LayersModel): Promise<void> {
  for (let turn = 0; turn < TURNS && isTraining(trained); turn++) {
    await Promise.resolve();
  }
  if (!isTraining(trained)) {
    beginnings.delete(trained);
  }
}

/**
 * Runs `f`, which trains a model by a fit of a piece of it. As long as that takes, tfjs refuses another fit of the
 * model, and the fit of the piece counts as begun now.
 *
 * @throws LoRAError if the model is training already.
 */
export async function asFitOf<T>(model: tf.LayersModel, piece: tf.LayersModel, f: () => Promise<T>): Promise<T> {
  const trained = trainedIn(model);
  if (isTraining(trained)) {
    throw new LoRAError('The model is training already: another fit of it is going on. Await that first.');
  }
  wholes.set(piece, model);
  beginnings.set(piece, marksOf(piece));
  try {
    return await asTraining(trained, f);
  } finally {
    beginnings.delete(trained);
    beginnings.delete(piece);
  }
}

/** The models that are trained by a fit of a piece of them, by the piece. */
const wholes = new WeakMap<tf.layers.Layer, tf.LayersModel>();

/**
 * What is trained when tfjs fits a model, whichever of them one has: the model, what a Sequential holds, or a piece of
 * it.
 */
export function subjectOf(model: tf.LayersModel): tf.LayersModel {
  return trainedIn(wholes.get(model) ?? model);
}

function marksOf(model: tf.layers.Layer): Marks {
  return new Map(wrappersIn(model).map(layer => [layer, inForce(layer).mark]));
}

/** The layers of this library in any model: unlike `sitesOf`, this takes every model that tfjs trains. */
function wrappersIn(model: tf.layers.Layer): tf.layers.Layer[] {
  const found = new Set<tf.layers.Layer>();
  const visit = (layer: tf.layers.Layer) => {
    if (isWrapper(layer)) {
      found.add(layer);
    }
    childrenOf(layer)?.forEach(visit);
  };
  visit(model);
  return [...found];
}
