import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {
  asLoRAError,
  busyError,
  checkOptions,
  kindOf,
  listed,
  LoRAError,
  misfitError,
  show,
  unsupportedError,
} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {adapterState} from '../layers/layerMarks';
import {fittedModel} from '../model/fits';
import {innermostLayers} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isTensorOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {bringHere, registeredBackends, tensorsIn} from '../../platform/tfjs/move';
import {isTraining} from '../../platform/tfjs/training';
import {statesFor} from './resumed';

/** What `moveTo` moves. */
export type Movable = tf.LayersModel | tf.Optimizer | Adapter | tf.Tensor;

/**
 * Makes another backend the current one and moves a model to it: its weights, the slots of its compiled optimizer, and
 * the caches of its layers. Training continues as if it had not moved. To move adapters, data and other optimizers too,
 * pass a list.
 *
 *     await moveTo(model, 'cpu');
 *     await moveTo([model, adapter, xs, ys], 'webgpu');
 *
 * tfjs itself moves a tensor only when something needs it, with a synchronous read. WebGPU does that through a canvas,
 * if at all.
 *
 * @param backend the name of a registered backend: import its package first.
 * @param what a layers model, adapter, optimizer or tensor, or a list of them.
 * @param options `signal` and `onProgress`, while values are read; nothing is moved until all are.
 * @throws LoRAError `ERR_OPTION` if something is of another kind, `ERR_BUSY` if a model is training or in a
 *     `withAdapter`, `ERR_UNSUPPORTED` if the backend is not registered or does not start, `ERR_DEVICE_LOST` if values
 *     are lost with a graphics card, `ERR_ABORTED`. Then the current backend stays.
 * @experimental
 */
export async function moveTo(
  what: Movable | readonly Movable[],
  backend: string,
  options: CallOptions = {},
): Promise<void> {
  checkOptions(options, {signal: true, onProgress: true});
  checkCallOptions(options);
  const things: readonly Movable[] = Array.isArray(what) ? what : [what];
  things.forEach(check);
  const here = registeredBackends();
  if (!here.includes(backend)) {
    throw unsupportedError(
      `There is no backend ${show(backend)}. Available: ${listed(here)}. Import its package first.`,
    );
  }
  const former = tf.getBackend();
  try {
    if (!(await tf.setBackend(backend))) {
      throw unsupportedError(`The backend ${show(backend)} does not start here.`);
    }
    const optimizerStates = things.map(thing => (isModel(thing) ? statesFor(thing) : undefined));
    await bringHere(tensorsIn([...things, optimizerStates]), stepsOf(options));
  } catch (error) {
    await tf.setBackend(former);
    throw asLoRAError(error, `Nothing is moved to ${show(backend)}`, 'ERR_UNSUPPORTED');
  }
}

function isModel(thing: Movable): thing is tf.LayersModel {
  return thing instanceof tf.layers.Layer;
}

function has<Key extends string>(thing: unknown, field: Key): thing is Record<Key, unknown> {
  return typeof thing === 'object' && thing !== null && field in thing;
}

/** @throws LoRAError if it cannot be moved now. */
function check(thing: Movable): void {
  if (isModel(thing)) {
    checkModel(thing);
    if (isTraining(fittedModel(thing))) {
      throw busyError('The model is training. Move it after the fit.');
    }
    if ([...innermostLayers(thing)].some(layer => adapterState(layer).scope !== undefined)) {
      throw busyError('A withAdapter on the model is open. Move the model after it.');
    }
  } else if (isTensorOfOtherCopy(thing)) {
    throw misfitError(`The tensor is ${OTHER_COPY}`);
  } else if (has(thing, 'tensors')) {
    checkAdapter(thing);
  } else if (!(thing instanceof tf.Tensor) && !has(thing, 'applyGradients')) {
    throw new LoRAError(
      `moveTo takes layers models, adapters, optimizers and tensors, or a list of them, got ${kindOf(thing)}.`,
    );
  }
}
