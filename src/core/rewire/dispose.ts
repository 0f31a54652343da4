import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {checkLayer} from '../layers/layerArgs';
import {baseOf} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {releaseOptimizer} from '../../platform/tfjs/release';
import {disposeStates} from '../../platform/tfjs/inputs';
import {containersOf, innermostLayers} from './walk';
import {isContainer} from '../../platform/tfjs/checkModel';
import {isDisposed} from '../../platform/tfjs/weights';

/** The adapter that each model disposes of. */
const adopted = new WeakMap<tf.layers.Layer, Adapter>();
/** Freed objects, which tfjs refuses to free again. */
const freed = new WeakSet<tf.layers.Layer>();
/** How many models use an adapter: the last of them disposes of it. */
const adopters = new WeakMap<Adapter, number>();

/** Lets `disposeModel` of a model dispose of an adapter too. */
export function adopt(model: tf.LayersModel, adapter: Adapter): void {
  adopted.set(model, adapter);
  adopters.set(adapter, (adopters.get(adapter) ?? 0) + 1);
}

function disposeAdopted(model: tf.layers.Layer): void {
  const adapter = adopted.get(model);
  if (adapter !== undefined) {
    adopted.delete(model);
    const remaining = (adopters.get(adapter) ?? 1) - 1;
    adopters.set(adapter, remaining);
    if (remaining === 0) {
      adapter.dispose();
    }
  }
}

/**
 * Frees a model, or a layer: each weight once, those of shared and nested layers included, which `model.dispose()`
 * leaves behind. An adapter that was passed to `applyLoRA` is disposed of with the last model that it was applied to,
 * and an optimizer of this library, such as `adam()`, with the last model that was compiled with it. Another optimizer,
 * such as `tf.train.adam()`, is the caller's, unless `compile` made it from a name. A second call does nothing. After
 * `model.dispose()`, a call frees what is left.
 *
 * @param model a model or layer.
 * @throws LoRAError `ERR_OPTION` if it is none.
 * @example
 *     disposeModel(model);
 */
export function disposeModel(model: tf.LayersModel | tf.layers.Layer): void {
  checkLayer(model);
  if (freed.has(model)) {
    return;
  }
  freed.add(model);
  disposeAdopted(model);
  const layers = [...innermostLayers(model)];
  layers.filter(isWrapper).forEach(layer => layer.disposePrepared());
  layers.forEach(layer => disposeStates(baseOf(layer)));
  const weights = layers.flatMap(layer => layer.weights);
  const variables = new Set(weights.filter(weight => !isDisposed(weight)).map(weight => weight.read()));
  if (isContainer(model)) {
    containersOf(model).forEach(([, layer]) => isContainer(layer) && releaseOptimizer(layer));
    // tfjs refuses to dispose of a layer twice: of a model, or of one that another model disposed of.
    if (!weights.some(isDisposed)) {
      model.dispose();
    }
  }
  for (const variable of variables) {
    // tfjs would count a variable that is disposed twice against the others that share its buffer.
    if (!variable.isDisposed) {
      variable.dispose();
    }
  }
}

/**
 * Returns the variables of a model that train, each once: what to pass to `optimizer.minimize(f, false, variables)` in
 * a training loop of one's own. Without such a list tfjs moves every variable, those of layers with `trainable: false`
 * included.
 *
 * @param model a model, adapted or not.
 * @returns each variable once.
 * @throws LoRAError `ERR_OPTION` if it is no model.
 * @example
 *     const optimizer = adam({learningRate: 1e-3});
 *     optimizer.minimize(() => tf.mean(model.apply(xs) as tf.Tensor), false, trainableVariables(model));
 */
export function trainableVariables(model: tf.LayersModel): tf.Variable[] {
  checkLayer(model);
  return [...new Set(model.trainableWeights.map(weight => weight.read() as tf.Variable))];
}
