import type * as tf from '@tensorflow/tfjs';
import {checkOptions, listed, numericError} from '../../platform/errors';
import {type CallOptions, checkCallOptions, type Step, stepsOf} from '../../platform/signals';
import {markHead} from '../head/headPlace';
import {type BorrowingLayer, borrowing} from '../layers/borrowingLayer';
import {isLoRALayer} from '../layers/loraLayer';
import {baseOf, trains} from '../layers/layerMarks';
import {isWrapper} from '../layers/wrapperLayer';
import {disposeModel} from '../rewire/dispose';
import {recordOf, restoreStructure} from '../rewire/record';
import {rewire} from '../rewire/rewire';
import {sitesOf} from '../rewire/walk';
import {type LayerEntry, withoutConstraints} from '../../platform/tfjs/configs';
import {allFinite} from '../../platform/tfjs/finite';
import {shareWeights} from '../../platform/tfjs/weights';
import {adaptedSites} from './adapted';

/**
 * Returns a new, plain model of stock tfjs layers with every update merged into its weights, `W' = W + s·A·B`: as fast
 * as the original, and loadable without this library. The adapted model is not changed and can continue training.
 *
 * Layers that trained have no constraints in it: tfjs trains without them, but would enforce them when it loads the
 * model from a file.
 *
 * It is synchronous and reads no values. Before you deploy what training made, take `safeMergeLoRA`, which looks at
 * them.
 *
 * @param model an adapted model.
 * @returns a new model, which is the caller's to dispose of.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted.
 * @example
 *     const merged = mergeLoRA(model);
 *     await merged.save('indexeddb://merged');
 */
export function mergeLoRA(model: tf.LayersModel): tf.LayersModel {
  return mergeEach(model, giveMerged);
}

/** Merges as {@link mergeLoRA}. `transfer` gives each plain layer its weights: {@link giveMerged}, or less for now. */
export function mergeEach(model: tf.LayersModel, transfer: Unwrapping['transfer']): tf.LayersModel {
  return unwrap(model, {
    entryOf: (layer, entry) => {
      const parted = partedFrom(layer);
      if (parted !== undefined) {
        return parted.ownEntry();
      }
      if (isLoRALayer(layer)) {
        return layer.mergedEntry();
      }
      const base = isWrapper(layer) ? layer.baseEntry() : entry;
      return trains(layer) ? withoutConstraints(base) : base;
    },
    transfer,
  });
}

export function giveMerged(layer: tf.layers.Layer, plain: tf.layers.Layer): void {
  const parted = partedFrom(layer);
  if (isLoRALayer(layer)) {
    layer.mergeInto(plain);
  } else if (parted !== undefined) {
    parted.giveOwn(plain);
  } else {
    shareWeights(baseOf(layer), plain);
  }
}

/**
 * Merges as {@link mergeLoRA}, and refuses a result that holds NaN or an infinity (PEFT's `safe_merge`). Take it for
 * what you save or deploy, where waiting for the device does no harm, and `mergeLoRA` in synchronous code.
 *
 * @param model an adapted model.
 * @param options `signal` and `onProgress`.
 * @returns a promise, since the merged weights are read from the backend.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted; `ERR_NUMERIC` names the layers with values that are
 *     not finite; `ERR_ABORTED` if the signal is aborted.
 * @example
 *     const merged = await safeMergeLoRA(model);
 */
export async function safeMergeLoRA(model: tf.LayersModel, options: CallOptions = {}): Promise<tf.LayersModel> {
  checkOptions(options, {signal: true, onProgress: true});
  checkCallOptions(options);
  return checked(model, mergeLoRA(model), stepsOf(options));
}

/**
 * Returns a new model without the adapter: the stock layers, weights and `trainable` flags that the model had before
 * `applyLoRA`. Layers that trained in full get their original weights back. The adapted model is not changed.
 *
 * @param model an adapted model.
 * @returns a new model, which shares its weights with the adapted one.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted.
 * @example
 *     const original = removeLoRA(model);
 */
export function removeLoRA(model: tf.LayersModel): tf.LayersModel {
  const plain = unwrap(model, {
    entryOf: (layer, entry) => (isWrapper(layer) ? layer.baseEntry() : entry),
    transfer: (layer, stock) => {
      if (isWrapper(layer)) {
        layer.shareOriginal(stock);
      } else {
        shareWeights(layer, stock);
      }
    },
  });
  markHead(plain, recordOf(model).head);
  return plain;
}

/** The replacements of the wrappers. */
interface Unwrapping {
  entryOf: (layer: tf.layers.Layer, entry: LayerEntry) => LayerEntry;
  /** Gives the new layer its weights. */
  transfer: (layer: tf.layers.Layer, plain: tf.layers.Layer) => void;
}

function unwrap(model: tf.LayersModel, {entryOf, transfer}: Unwrapping): tf.LayersModel {
  adaptedSites(model);
  recordOf(model); // refuses a damaged one before anything is made
  const plain = rewire(model, {
    replace: ({layer}, entry) => entryOf(layer, entry),
    transfer: ({layer}, replacement) => {
      transfer(layer, replacement);
      if (!replacement.trainable) {
        // Made with `trainable: false`, a layer does not tell its variables, and a custom training loop reads those.
        replacement.trainable = false;
      }
    },
  });
  restoreStructure(model, plain);
  return plain;
}

async function checked(model: tf.LayersModel, merged: tf.LayersModel, step: Step): Promise<tf.LayersModel> {
  const changed = new Set(
    adaptedSites(model)
      .filter(({layer}) => trains(layer))
      .map(({path}) => path),
  );
  const broken: string[] = [];
  try {
    const sites = sitesOf(merged);
    for (const [done, {path, layer}] of sites.entries()) {
      await step({done, total: sites.length, what: 'checking layers'});
      if (changed.has(path) && !(await allFinite(layer.weights.map(weight => weight.read())))) {
        broken.push(path);
      }
    }
    await step({done: sites.length, total: sites.length, what: 'checking layers'});
  } catch (error) {
    disposeModel(merged);
    throw error;
  }
  if (broken.length > 0) {
    disposeModel(merged);
    throw numericError(
      `After merging, ${listed(broken)} would contain NaN or an infinity. The model is neither merged nor changed.`,
    );
  }
  return merged;
}

/** Whether a layer borrows a weight and gets its own in a merge: it has an update, or the lender one for itself. */
function partedFrom(layer: tf.layers.Layer): BorrowingLayer | undefined {
  const base = borrowing(baseOf(layer));
  const owns = (candidate: tf.layers.Layer | undefined) =>
    candidate && isLoRALayer(candidate) && !candidate.method.reachesBorrowers;
  return [layer, base?.lender].some(owns) ? base : undefined;
}
