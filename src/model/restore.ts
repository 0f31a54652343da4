import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import type {LoRALayer} from '../layers/loraLayer';
import {baseOf, isWrapper, wrapperKind} from '../layers/wrapperLayer';
import {fieldsOf, type KernelLayer, shareWeights} from '../layers/stock';
import {adaptedSites, loraSites} from './adapted';
import {disposeModel} from './dispose';
import {restoreStructure} from './record';
import {rewire} from './rewire';

/** How a model is merged. */
export interface MergeOptions {
  /** Look for values that are not finite in the merged kernels, and refuse them. Reads the kernels, so the result is a promise. */
  safe?: boolean;
}

/**
 * A new, plain model of stock tfjs layers with every update baked in, `W' = W + s·A·B`: as fast as the original, and in need of nothing of
 * this library to load. The adapted model is not changed, and can go on training.
 *
 * With `{safe: true}`, a promise of it that is rejected if a merged kernel holds NaN or an infinity.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function mergeLoRA(model: tf.LayersModel): tf.LayersModel;
export function mergeLoRA(model: tf.LayersModel, options: {safe: true}): Promise<tf.LayersModel>;
export function mergeLoRA(model: tf.LayersModel, options: MergeOptions): tf.LayersModel | Promise<tf.LayersModel>;
export function mergeLoRA(
  model: tf.LayersModel,
  {safe = false}: MergeOptions = {},
): tf.LayersModel | Promise<tf.LayersModel> {
  const merged = unwrap(model, (layer, plain) => {
    if (wrapperKind(layer) === 'lora') {
      (layer as LoRALayer).mergeInto(plain);
    } else {
      shareWeights(baseOf(layer), plain);
    }
  });
  return safe ? checked(model, merged) : merged;
}

/**
 * A new model without the adapter: the stock layers, weights and `trainable` flags that the model had before `applyLoRA`. Layers that
 * trained in full get their original weights back. The adapted model is not changed.
 *
 * @throws LoRAError if the model is not adapted.
 */
export function removeLoRA(model: tf.LayersModel): tf.LayersModel {
  return unwrap(model, (layer, plain) => {
    if (isWrapper(layer)) {
      layer.shareOriginal(plain);
    } else {
      shareWeights(layer, plain);
    }
  });
}

function unwrap(
  model: tf.LayersModel,
  transfer: (layer: tf.layers.Layer, plain: tf.layers.Layer) => void,
): tf.LayersModel {
  adaptedSites(model);
  const plain = rewire(model, {
    replace: ({layer}, entry) => (isWrapper(layer) ? layer.baseEntry() : entry),
    transfer: ({layer}, replacement) => {
      transfer(layer, replacement);
      if (!replacement.trainable) {
        // Made with `trainable: false`, a layer does not tell its variables, which a custom training loop goes by.
        replacement.trainable = false;
      }
    },
  });
  restoreStructure(model, plain);
  return plain;
}

async function checked(model: tf.LayersModel, merged: tf.LayersModel): Promise<tf.LayersModel> {
  const broken: string[] = [];
  for (const {path, layer} of loraSites(model)) {
    const finite = tf.tidy(() => {
      const {A, B, delta} = layer.loraLayer;
      const kernel = fieldsOf<KernelLayer>(layer.baseLayer).kernel.read();
      return tf.all(tf.stack([A, B, tf.add(kernel, delta())].map(tensor => tf.all(tf.isFinite(tensor)))));
    });
    const [value] = await finite.data();
    finite.dispose();
    if (!value) {
      broken.push(path);
    }
  }
  if (broken.length > 0) {
    disposeModel(merged);
    throw new LoRAError(
      `With its update, ${broken.join(', ')} holds NaN or an infinity. The model is not merged and not changed.`,
    );
  }
  return merged;
}
