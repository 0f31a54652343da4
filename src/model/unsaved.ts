import type * as tf from '@tensorflow/tfjs';
import {isWrapper} from '../layers/wrapperLayer';
import type {Site} from '../rewire/walk';

/** A plain layer of an adapted model that changes in training. It is no part of the model's adapter. */
export interface UnsavedLayer {
  path: string;
  className: string;
  /** What changes, as the rest of a sentence about it. */
  reason: string;
}

/**
 * The plain layers that change in training, which no adapter of the model holds. `applyLoRA` leaves none; a model that
 * was put together by hand has them, of LoRA layers and others, or of an adapted body and a head.
 */
export function unsavedLayers(sites: readonly Site[]): UnsavedLayer[] {
  return sites.flatMap(({path, layer, ancestors}) => {
    if (isWrapper(layer)) {
      return [];
    }
    const className = layer.getClassName();
    if (layer.trainableWeights.length > 0 && ancestors.every(({trainable}) => trainable)) {
      return [{path, className, reason: 'trains'}];
    }
    return className === 'BatchNormalization'
      ? [{path, className, reason: 'moves its statistics in training, frozen though it is'}]
      : [];
  });
}

/** What the last warning said of a model. */
const warned = new WeakMap<tf.LayersModel, string>();

/** Warns once of what an adapter that is taken from a model does not hold. */
export function reportUnsaved(model: tf.LayersModel, sites: readonly Site[]): void {
  const unsaved = unsavedLayers(sites);
  const lines = unsaved.map(({path, className, reason}) => `  ${path} (${className}) ${reason}`).join('\n');
  if (unsaved.length === 0 || warned.get(model) === lines) {
    return;
  }
  warned.set(model, lines);
  const names = unsaved.map(({path}) => `'${path}'`).join(', ');
  console.warn(
    'The adapter does not hold all that training changes in this model. Plain layers are no part of ' +
      `it:\n${lines}\nLet applyLoRA make the model, with {trainable: [${names}]} or after replaceHead; in a model ` +
      "made by hand, wrap such a layer, new UnadaptedLayer({layer, trains: 'everything'}) to keep it with the " +
      'adapter or new UnadaptedLayer({layer}) to leave it as it is; or save the whole model with model.save.',
  );
}
