import type * as tf from '@tensorflow/tfjs';
import type {AdapterConfig} from '../adapter/adapter';
import {notAdaptedError} from '../../platform/errors';
import {isLoRALayer, type LoRALayer} from '../layers/loraLayer';
import {wrapperKind, type WrapperKind} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {shortName} from '../../platform/tfjs/configs';
import {recordOf} from '../rewire/record';
import {type Site, sitesOf} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isDisposed} from '../../platform/tfjs/weights';

/** A layer of an adapted model that has an update. */
interface LoRASite extends Site {
  layer: LoRALayer;
}

export function loraSites(model: tf.LayersModel): LoRASite[] {
  return sitesOf(model).filter((site): site is LoRASite => isLoRALayer(site.layer));
}

/**
 * The layers of an adapted model.
 *
 * @throws LoRAError if it is no model, or not adapted.
 */
export function adaptedSites(model: tf.LayersModel): Site[] {
  if (!isAdapted(model)) {
    throw notAdaptedError('The model has no LoRA layers. Adapt it first: applyLoRA(model, {rank: 8}).');
  }
  return sitesOf(model);
}

/**
 * Tells whether a model has an adapter or layers of this library that freeze, as `applyLoRA` makes them.
 *
 * @param model any layers model.
 * @returns false for a plain model, also after `removeLoRA` and `mergeLoRA`.
 * @throws LoRAError `ERR_OPTION` if it is no layers model.
 */
export function isAdapted(model: tf.LayersModel): boolean {
  checkModel(model);
  return sitesOf(model).some(({layer}) => isWrapper(layer));
}

export function adapterVariables(model: tf.LayersModel): Map<string, tf.LayerVariable> {
  const variables = new Map<string, tf.LayerVariable>();
  for (const {path, layer} of adaptedSites(model)) {
    if (isWrapper(layer)) {
      layer.adapterWeights().forEach((variable, name) => variables.set(`${path}/${name}`, variable));
    }
  }
  return variables;
}

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

/** A layer of an adapted model that is not adapted, or of which the model's adapter does not hold all that trains. */
export interface SkippedLayer {
  /** The name of the layer, after those of the models around it. */
  path: string;
  /** The class of the layer, such as `BatchNormalization`. */
  className: string;
  /** Why it is not adapted, or what changes, in whole sentences. */
  reason: string;
}

/**
 * The layers that change in training and of which the model's adapter does not hold all. `applyLoRA` leaves none;
 * models put together by hand have them, such as a plain head on an adapted body.
 */
export function unsavedLayers(sites: readonly Site[]): SkippedLayer[] {
  return sites.flatMap(({path, layer, ancestors}) => {
    const className = shortName(layer.getClassName());
    if (isWrapper(layer)) {
      const saved = new Set(layer.adapterWeights().values());
      return layer.trainableWeights.every(weight => saved.has(weight))
        ? []
        : [{path, className, reason: 'Its base trains, although it was made with freezeBaseLayer: true.'}];
    }
    if (layer.trainableWeights.length > 0 && ancestors.every(({trainable}) => trainable)) {
      return [{path, className, reason: 'The layer trains.'}];
    }
    return className === 'BatchNormalization'
      ? [{path, className, reason: 'Training updates its statistics, although it is frozen.'}]
      : [];
  });
}

const warned = new WeakMap<tf.LayersModel, string>();

/** Warns once about what a model's adapter does not hold. */
export function reportUnsaved(model: tf.LayersModel, sites: readonly Site[]): void {
  const unsaved = unsavedLayers(sites);
  const lines = unsaved.map(({path, className, reason}) => `  ${path} (${className}): ${reason}`).join('\n');
  if (unsaved.length === 0 || warned.get(model) === lines) {
    return;
  }
  warned.set(model, lines);
  const names = unsaved.map(({path}) => `'${path}'`).join(', ');
  console.warn(
    'Training changes layers of this model that the adapter does not contain. Plain layers are not part of ' +
      `it:\n${lines}\nLet applyLoRA make the model, with {trainInFull: [${names}]} or after replaceHead; in a ` +
      'model that you built yourself, wrap the layer: new TrainedLayer({layer}) adds it to the adapter, new ' +
      'FrozenLayer({layer}) freezes it; or save the whole model with model.save.',
  );
}

/**
 * Last layer of a model → the latest adapted model that was made of it, until that is called. `compile` of a
 * Sequential changes the model that tfjs fits, but not its layers.
 */
const uncalled = new WeakMap<tf.layers.Layer, tf.LayersModel>();

/**
 * Lets a fit or a `trainOnBatch` of a model warn if the adapted model that was made of it is neither called nor
 * compiled by then.
 */
export function expectUse(model: tf.LayersModel, adapted: tf.LayersModel): void {
  const last = model.layers.at(-1) as tf.layers.Layer;
  const first = sitesOf(adapted).find(({layer}) => isWrapper(layer))?.layer;
  uncalled.set(last, adapted);
  first?.setCallHook(() => {
    uncalled.delete(last);
    first.clearCallHook();
  });
}

/** Warns if training begins of a model whose adapted model nobody uses. */
export function warnIfForgotten(model: tf.layers.Layer): void {
  const last = (model as tf.LayersModel).layers.at(-1) as tf.layers.Layer;
  const adapted = uncalled.get(last);
  uncalled.delete(last);
  if (adapted !== undefined && (adapted.optimizer as unknown) == null && !adapted.weights.some(isDisposed)) {
    console.warn(
      'This trains a model that was passed to applyLoRA, in full. applyLoRA leaves that model as it is and returns ' +
        'an adapted one, which is neither compiled nor called yet: const adapted = applyLoRA(model).',
    );
  }
}
