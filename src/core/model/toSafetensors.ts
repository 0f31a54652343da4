import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {encodeAdapter, type SafetensorsOptions} from '../storage/safetensors';
import type {FileBytes} from '../../platform/formats/safetensors';
import {getAdapter} from './currentAdapter';

/**
 * Encodes the adapter of a model, or an adapter, as the bytes of a safetensors file: tensors by name, and the config as
 * text in the header. `loadAdapter(bytes)` is the inverse.
 *
 *     const bytes = await toSafetensors(model, {dtype: 'float16'});
 *     await fetch('/adapters/emoji', {method: 'PUT', body: bytes});
 *
 * @param source an adapted model, which stays as it is, or an adapter, which stays the caller's.
 * @param options the data type, and whether NaN and infinities are allowed.
 * @returns a promise, since some backends, such as WebGPU, read values only asynchronously.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_DISPOSED` if the adapter was disposed,
 *     `ERR_NUMERIC` if a value is not finite or too large for the data type.
 */
export async function toSafetensors(
  source: tf.LayersModel | Adapter,
  options: SafetensorsOptions = {},
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
