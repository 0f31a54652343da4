import * as tf from '@tensorflow/tfjs';
import {type Adapter, type AdapterConfig, isPromise, type LayerConfig, layerConfigAt, resolveStrength} from '../config';
import {LoRAError} from '../errors';
import type {LoRALayer} from '../layers/loraLayer';
import {replaceValue} from '../layers/stock';
import {isWrapper, wrapperKind, type WrapperLayer} from '../layers/wrapperLayer';
import {adaptedSites, adapterConfig, adapterVariables} from '../model/adapted';
import {checkAdapter} from '../model/checkAdapter';
import {checkFit} from '../model/fit';
import {describeHead, sameHead} from '../model/headConfig';
import {recordOf} from '../model/record';
import type {Site} from '../model/walk';

/**
 * The adapter of a model, as a value: a snapshot that shares buffers with the model and is not touched by what happens to it later.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function getAdapter(model: tf.LayersModel): Adapter {
  const config = adapterConfig(model); // before there are tensors that a failure would leave
  const entries = [...adapterVariables(model)].map(([name, variable]) => [name, tf.clone(variable.read())] as const);
  return makeAdapter(config, Object.fromEntries(entries));
}

/**
 * Puts another adapter on an adapted model, in place: of any rank and strength, for all or some of the layers that the model adapts. What
 * the adapter does not name computes what its base computes; with `null` that is all of the model. Nothing is copied or compiled: buffers are
 * shared, and a compiled model goes on training.
 *
 * An optimizer with slots (momentum, Adam) keeps those of the former adapter. Call `resetOptimizer(model)` before training the other one, at
 * another rank in any case: slots of another shape make the step fail.
 *
 * @throws LoRAError if the model is not adapted or the adapter does not fit it, with a line for each misfit. Then nothing is changed.
 */
export function setAdapter(model: tf.LayersModel, adapter: Adapter | null): void {
  const sites = adaptedSites(model);
  if (adapter !== null) {
    checkAdapterFits(adapter, model, sites);
  }
  for (const {path, layer} of sites) {
    if (isWrapper(layer)) {
      const tensorOf = (name: string) => adapter?.tensors[`${path}/${name}`];
      setLayer(layer, adapter === null ? undefined : layerConfigAt(adapter.config, path), tensorOf);
    }
  }
}

/**
 * Checks that an adapter can be set on an adapted model.
 *
 * @throws LoRAError if it cannot, with a line for each misfit.
 */
export function checkAdapterFits(adapter: Adapter, model: tf.LayersModel, sites: readonly Site[]): void {
  checkAdapter(adapter);
  const {head} = recordOf(model);
  if (!sameHead(adapter.config.head, head)) {
    throw new LoRAError(
      `The adapter does not fit this model: it has ${describeHead(adapter.config.head)}, and the model ${describeHead(head)}. ` +
        'Apply it to the plain base instead: applyLoRA(base, adapter).',
    );
  }
  checkFit(adapter, sites);
}

/** Sets what an adapter holds for one layer; what it does not hold is as in the base. */
function setLayer(
  layer: WrapperLayer,
  config: LayerConfig | undefined,
  tensorOf: (name: string) => tf.Tensor | undefined,
): void {
  if (wrapperKind(layer) === 'lora') {
    const lora = layer as LoRALayer;
    if (config === undefined) {
      lora.clearUpdate();
    } else {
      lora.setUpdate(resolveStrength(config), tensorOf);
    }
  }
  layer.restoreOriginal();
  layer.trainedWeights().forEach((variable, name) => {
    const value = tensorOf(name);
    if (value !== undefined) {
      replaceValue(variable, value);
    }
  });
}

/**
 * Runs `f` with another adapter on the model, or with none, and puts the former one back afterwards, whatever happens.
 *
 * @param f may return a promise; the adapter stays until that is settled.
 * @throws LoRAError as `setAdapter`, and whatever `f` throws.
 */
export function withAdapter<T>(model: tf.LayersModel, adapter: Adapter | null, f: () => T): T {
  const former = getAdapter(model);
  const restore = () => {
    setAdapter(model, former);
    former.dispose();
  };
  let result: T;
  try {
    setAdapter(model, adapter);
    result = f();
  } catch (error) {
    restore();
    throw error;
  }
  if (isPromise(result)) {
    return Promise.resolve(result).finally(restore) as T;
  }
  restore();
  return result;
}

/** An adapter that owns the given tensors. */
export function makeAdapter(config: AdapterConfig, tensors: Record<string, tf.Tensor>): Adapter {
  // An adapter lives until it is disposed, wherever it is made.
  Object.values(tensors).forEach(tensor => tf.keep(tensor));
  return {config, tensors, dispose: () => tf.dispose(tensors)};
}
