import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {asLoRAError, checkOptions, LoRAError, show} from '../../platform/errors';
import {checkNumbers, type FiniteOptions} from '../../platform/formats/numbers';
import {type CallOptions, checkCallOptions} from '../../platform/signals';
import {checkPlace, isSafetensors, saverOf} from './places';
import {contentsOf, encodeAdapter, FORMAT, type SafetensorsOptions} from './safetensors';
import {joinedWeights} from './weightBytes';

/** Marks a file as an adapter, in the field where model files hold their topology. */
export const CLASS_NAME = 'LoRAAdapter';
/** The version of such files. */
export const VERSION = 1;

/** How an adapter is saved in the formats of this library. */
export interface SaveOptions extends SafetensorsOptions, CallOptions {
  /**
   * `'safetensors'`: the bytes of a safetensors file, which other tools read too. `'tfjs'`: JSON and float32 weights,
   * as tfjs saves models. Default: `'safetensors'` for a name that ends in `.safetensors`, or with a `dtype`, else
   * `'tfjs'`.
   */
  format?: 'tfjs' | 'safetensors';
}

/** Saves an adapter as `saveAdapter` does, which stays the caller's. Calls `take` once all is checked. */
export async function writeAdapter(
  take: () => Adapter,
  handlerOrUrl: tf.io.IOHandler | string,
  options: SaveOptions,
): Promise<tf.io.SaveResult> {
  checkOptions(options, {format: true, dtype: true, allowNonFinite: true, signal: true, onProgress: true});
  const {format: wanted, dtype, signal, onProgress, ...finite} = options;
  const call = {signal, onProgress};
  checkCallOptions(call);
  if (wanted !== undefined && !['tfjs', 'safetensors'].includes(wanted)) {
    throw new LoRAError(`format must be "tfjs", "safetensors" or "peft", got ${show(wanted)}.`);
  }
  checkPlace(handlerOrUrl);
  const isNamedSo = isSafetensors(handlerOrUrl);
  const format = wanted ?? (isNamedSo || dtype !== undefined ? 'safetensors' : 'tfjs');
  if (format === 'tfjs' && isNamedSo) {
    throw new LoRAError(
      'A name that ends in ".safetensors" has that format. Leave {format: "tfjs"} out, or choose another name.',
    );
  }
  if (format === 'tfjs' && dtype !== undefined && dtype !== 'float32') {
    throw new LoRAError(
      `The format "tfjs" stores only float32. For ${show(dtype)}, pass {format: 'safetensors', dtype}.`,
    );
  }
  const handler = saverOf(handlerOrUrl);
  const artifacts =
    format === 'safetensors'
      ? safetensorsArtifacts(await encodeAdapter(take, {...(dtype && {dtype}), ...finite, ...call}))
      : await tfjsArtifacts(take(), finite, call);
  return withPlace('save', handlerOrUrl, () => handler.save(artifacts));
}

/** An adapter as tfjs's handlers carry a model. */
async function tfjsArtifacts(
  adapter: Adapter,
  finite: FiniteOptions,
  call: CallOptions,
): Promise<tf.io.ModelArtifacts> {
  checkAdapter(adapter);
  const {config, values: packed, base} = await contentsOf(adapter, call);
  const values = Object.entries(packed);
  checkNumbers(values, 'F32', finite);
  return {
    format: FORMAT,
    generatedBy: 'tfjs-lora',
    convertedBy: null,
    // JSON as it is: unlike a layer's config, an adapter's keeps the spelling of its keys and names.
    modelTopology: {class_name: CLASS_NAME, version: VERSION, config, ...(base && {base})},
    weightSpecs: values.map(([name, {shape}]) => ({name, shape: [...shape], dtype: 'float32'})),
    weightData: joinedWeights(values.map(([, {data}]) => new Float32Array(data).buffer)).buffer,
  };
}

/** A safetensors file as what tfjs's handlers carry: bytes whose spec says no more than how many there are. */
export function safetensorsArtifacts(bytes: Uint8Array): tf.io.ModelArtifacts {
  return {
    format: FORMAT,
    generatedBy: 'tfjs-lora',
    convertedBy: null,
    modelTopology: {class_name: CLASS_NAME, version: VERSION, format: 'safetensors'},
    // The type whose values take a single byte.
    weightSpecs: [{name: 'adapter.safetensors', shape: [bytes.length], dtype: 'bool'}],
    weightData: new Uint8Array(bytes).buffer, // a copy, where `slice` of a Buffer is none
  };
}

/** The bytes that artifacts hold, if they are those of an adapter in this format. */
export function safetensorsOf({modelTopology, weightData}: tf.io.ModelArtifacts): Uint8Array | undefined {
  const {class_name: className, format} = (modelTopology ?? {}) as Record<string, unknown>;
  return className === CLASS_NAME && format === 'safetensors' && weightData !== undefined
    ? joinedWeights(weightData)
    : undefined;
}

/** The result of `f`. Errors of the network and of tfjs's handlers get the URL; a user's own handler throws its own. */
export async function withPlace<T>(
  action: 'save' | 'load',
  handlerOrUrl: tf.io.IOHandler | string,
  f: () => Promise<T>,
): Promise<T> {
  try {
    return await f();
  } catch (error) {
    throw typeof handlerOrUrl === 'string' ? asLoRAError(error, `Cannot ${action} "${handlerOrUrl}"`, 'ERR_IO') : error;
  }
}
