import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {checkPlace, placeOf, saverOf} from '../storage/places';
import {encodeAdapter, type SafetensorsOptions} from '../storage/safetensors';
import {withPlace} from '../storage/storage';
import type {FileBytes} from '../../platform/formats/encodeSafetensors';
import {disposeModel} from '../rewire/dispose';
import {checkOptions} from '../../platform/errors';
import type {CallOptions} from '../../platform/signals';
import {getAdapter} from './currentAdapter';
import {safeMergeLoRA} from './restore';

/**
 * Encodes the adapter of a model, or an adapter, as the bytes of a safetensors file: tensors by name, and the config as
 * text in the header. `loadAdapter(bytes)` is the inverse.
 *
 *     const bytes = await toSafetensors(model, {dtype: 'float16'});
 *     await fetch('/adapters/emoji', {method: 'PUT', body: bytes});
 *
 * @param source an adapted model, which stays as it is, or an adapter, which stays the caller's.
 * @param options the data type, and whether NaN and infinities are allowed, `signal` and `onProgress`.
 * @returns a promise, since some backends, such as WebGPU, read values only asynchronously.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_DISPOSED` if the adapter was disposed,
 *     `ERR_NUMERIC` if a value is not finite or too large for the data type, `ERR_ABORTED` if the signal is aborted.
 */
export async function toSafetensors(
  source: tf.LayersModel | Adapter,
  options: SafetensorsOptions & CallOptions = {},
): Promise<FileBytes> {
  return withAdapterOf(source, take => encodeAdapter(take, options));
}

/**
 * Runs `f`, which takes the adapter after checking its other arguments, and disposes of a model's adapter afterwards.
 */
export async function withAdapterOf<T>(
  source: tf.LayersModel | Adapter,
  f: (take: () => Adapter) => Promise<T>,
): Promise<T> {
  let taken: Adapter | undefined;
  try {
    return await f(() => (source instanceof tf.layers.Layer ? (taken = getAdapter(source)) : source));
  } finally {
    taken?.dispose();
  }
}

/**
 * Saves an adapted model with its update merged into its weights, to deploy it: a plain model, as fast as the original,
 * which `tf.loadLayersModel` loads without this library. The adapted model is not changed, and nothing else is left in
 * memory.
 *
 *     await saveMerged(model, 'file://out/merged');
 *
 * @param model the adapted model.
 * @param handlerOrUrl what `model.save` takes, or a `URL`; in Node also a path.
 * @param options as for `model.save`, with `signal` and `onProgress`, until the handler saves.
 * @returns what `model.save` returns.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_NUMERIC` if a merged weight is not
 *     finite, `ERR_IO` if it cannot be saved there, `ERR_OPTION` if nothing handles the URL, `ERR_ABORTED`.
 */
export async function saveMerged(
  model: tf.LayersModel,
  handlerOrUrl: tf.io.IOHandler | URL | string,
  options: tf.io.SaveConfig & CallOptions = {},
): Promise<tf.io.SaveResult> {
  checkOptions(options, {includeOptimizer: true, trainableOnly: true, signal: true, onProgress: true});
  const {signal, onProgress, ...config} = options;
  const place = placeOf(handlerOrUrl);
  checkPlace(place);
  const handler = saverOf(place);
  const merged = await safeMergeLoRA(model, {signal, onProgress});
  try {
    return await withPlace('save', place, () => merged.save(handler, config));
  } finally {
    disposeModel(merged);
  }
}
