import type * as tf from '@tensorflow/tfjs';
import type {AdapterConfig} from '../adapter/adapter';
import {LoRAError} from '../errors';
import type {LoRALayer} from '../layers/loraLayer';
import {isWrapper, wrapperKind, type WrapperKind} from '../layers/wrapperLayer';
import {recordOf} from '../rewire/record';
import {checkModel, type Site, sitesOf} from '../rewire/walk';

/** A layer of an adapted model that has an update. */
interface LoRASite extends Site {
  layer: LoRALayer;
}

/** The layers of an adapted model that have an update. */
export function loraSites(model: tf.LayersModel): LoRASite[] {
  return sitesOf(model).filter((site): site is LoRASite => wrapperKind(site.layer) === 'lora');
}

/**
 * The layers of an adapted model.
 *
 * @throws LoRAError if it is no model, or not adapted.
 */
export function adaptedSites(model: tf.LayersModel): Site[] {
  checkModel(model);
  const sites = sitesOf(model);
  if (!sites.some(({layer}) => isWrapper(layer))) {
    throw new LoRAError('The model has no LoRA layers. Adapt it first: applyLoRA(model, {rank: 8}).');
  }
  return sites;
}

/** The variables of an adapted model that belong to its adapter, by the names that they have in it. */
export function adapterVariables(model: tf.LayersModel): Map<string, tf.LayerVariable> {
  const variables = new Map<string, tf.LayerVariable>();
  for (const {path, layer} of adaptedSites(model)) {
    if (isWrapper(layer)) {
      layer.adapterWeights().forEach((variable, name) => variables.set(`${path}/${name}`, variable));
    }
  }
  return variables;
}

/** The config of the adapter that a model has. */
export function adapterConfig(model: tf.LayersModel): AdapterConfig {
  const pathsOf = (kind: WrapperKind) =>
    adaptedSites(model)
      .filter(({layer}) => wrapperKind(layer) === kind)
      .map(({path}) => path);
  const biases = pathsOf('bias');
  const {head} = recordOf(model);
  return {
    layers: Object.fromEntries(loraSites(model).map(({path, layer}) => [path, layer.layerConfig])),
    trainable: pathsOf('trained'),
    ...(biases.length > 0 && {biases}),
    ...(head && {head}),
  };
}
