import * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt, makeAdapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {describeHead, sameHead} from '../adapter/headConfig';
import {isPromise, LoRAError} from '../errors';
import type {LayerConfig} from '../layers/adaptation';
import type {LoRALayer} from '../layers/loraLayer';
import {isWrapper, wrapperKind, type WrapperLayer} from '../layers/wrapperLayer';
import {recordOf} from '../rewire/record';
import type {Site} from '../rewire/walk';
import {replaceValue} from '../tfjs/weights';
import {adaptedSites, adapterConfig, adapterVariables} from './adapted';
import {checkFit} from './checkFit';

/**
 * The adapter of a model, as a value: a snapshot that shares buffers with the model and is not touched by what happens to it later.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function getAdapter(model: tf.LayersModel): Adapter {
  const entries = [...adapterVariables(model)].map(([name, variable]) => [name, tf.clone(variable.read())] as const);
  return makeAdapter(adapterConfig(model), Object.fromEntries(entries));
}

/**
 * Puts another adapter on an adapted model, in place: of any rank and strength, for all or some of the layers that the model adapts. What
 * the adapter does not name computes what its base computes; with `null` that is all of the model. Nothing is copied or compiled: buffers are
 * shared, and a compiled model goes on training.
 *
 * An optimizer with slots (momentum, Adam) keeps those of the former adapter. Call `resetOptimizer(model)` before training the other one, at
 * another rank in any case: slots of another shape make the step fail.
 *
 * tfjs fixes what a compiled model trains. After an adapter of another method the model predicts at once, and refuses to train until it is
 * compiled again.
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
      lora.setUpdate(config, tensorOf);
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
