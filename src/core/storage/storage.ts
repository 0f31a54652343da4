import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {checkAdapter, checkAdapterConfig} from '../adapter/checkAdapter';
import {
  asLoRAError,
  checkOptions,
  damagedError,
  LoRAError,
  show,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {checkNumbers, type FiniteOptions} from '../../platform/formats/numbers';
import {abortError, throwIfAborted, unlessAborted} from '../../platform/signals';
import {checkLimits, type LoadOptions, tooLarge} from './limits';
import {checkPlace, findHandler, isFetched, isSafetensors} from './places';
import {FORMAT, fromSafetensors, readAdapter, readValues, type SafetensorsOptions, toSafetensors} from './safetensors';
import {limitedFetch} from './sources';
import {packShared, unpackShared, withoutParts} from './sharedTensors';
import {bytesOfSpecs, isSpec, joinedWeights} from './weightBytes';

/** Marks a file as an adapter, where the file of a model holds its topology. */
const CLASS_NAME = 'LoRAAdapter';
const VERSION = 1;

/** How an adapter is saved. */
export interface SaveOptions extends SafetensorsOptions {
  /**
   * `'safetensors'`: the bytes of a safetensors file, which other tools read too. `'tfjs'`: JSON and float32 weights,
   * as tfjs saves models. Default: `'safetensors'` for a place whose name ends in `.safetensors`, else `'tfjs'`.
   */
  format?: 'tfjs' | 'safetensors';
}

/**
 * Saves an adapter as `saveAdapter` does. `take` is called after the place and the options are checked. The adapter
 * stays the caller's.
 */
export async function writeAdapter(
  take: () => Adapter,
  handlerOrUrl: tf.io.IOHandler | string,
  options: SaveOptions,
): Promise<tf.io.SaveResult> {
  checkOptions(options, {format: true, dtype: true, allowNonFinite: true});
  const {format: wanted, dtype, ...finite} = options;
  if (wanted !== undefined && !['tfjs', 'safetensors'].includes(wanted)) {
    throw new LoRAError(`format must be "tfjs" or "safetensors", got ${show(wanted)}.`);
  }
  checkPlace(handlerOrUrl, 'save');
  const isNamedSo = isSafetensors(handlerOrUrl);
  const format = wanted ?? (isNamedSo ? 'safetensors' : 'tfjs');
  if (format === 'tfjs' && isNamedSo) {
    throw new LoRAError(
      'A name that ends in ".safetensors" has that format. Leave {format: "tfjs"} out, or choose another name.',
    );
  }
  if (format === 'tfjs' && dtype !== undefined && dtype !== 'float32') {
    throw new LoRAError(`The format "tfjs" holds float32. For ${show(dtype)}, pass {format: 'safetensors', dtype}.`);
  }
  const handler = findHandler(handlerOrUrl, 'save');
  const {save} = handler;
  if (save === undefined) {
    throw new LoRAError('The handler cannot save: it has no save function.');
  }
  const adapter = take();
  checkAdapter(adapter);
  const artifacts =
    format === 'safetensors'
      ? safetensorsArtifacts(await toSafetensors(adapter, {...(dtype && {dtype}), ...finite}))
      : await tfjsArtifacts(adapter, finite);
  return await (typeof handlerOrUrl === 'string'
    ? withPlace(`Cannot save "${handlerOrUrl}"`, () => save.call(handler, artifacts))
    : save.call(handler, artifacts));
}

/** An adapter as tfjs's handlers carry a model. */
async function tfjsArtifacts(adapter: Adapter, finite: FiniteOptions): Promise<tf.io.ModelArtifacts> {
  const {config, values: packed} = packShared(adapter.config, await readValues(adapter.tensors));
  const values = Object.entries(packed);
  checkNumbers(values, 'F32', finite);
  return {
    format: FORMAT,
    generatedBy: 'tfjs-lora',
    convertedBy: null,
    // JSON as it is: unlike a layer's config, an adapter's keeps the spelling of its keys and names.
    modelTopology: {class_name: CLASS_NAME, version: VERSION, config},
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
    // The type whose numbers take a single byte.
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

/**
 * Loads an adapter that `saveAdapter` saved, in either format. Apply it with `applyLoRA(base, adapter)`, then dispose
 * it.
 *
 * @param handlerOrUrl what `tf.loadLayersModel` takes; it may be, over `http(s)://` or relative to the page, a
 *     `.safetensors` file. In Node also `file://…`.
 * @throws LoRAError if nothing handles the URL, it cannot be fetched, it has more bytes than are allowed, or what is
 *     there is not an adapter; with code `ERR_ABORTED` if the signal is aborted.
 */
export async function loadAdapter(handlerOrUrl: tf.io.IOHandler | string, options: LoadOptions = {}): Promise<Adapter> {
  checkPlace(handlerOrUrl, 'load');
  checkLimits(options);
  throwIfAborted(options.signal);
  try {
    if (typeof handlerOrUrl === 'string' && isFetched(handlerOrUrl) && isSafetensors(handlerOrUrl)) {
      const init = options.signal && {signal: options.signal};
      return await withPlace(`Cannot load "${handlerOrUrl}"`, () =>
        readAdapter(fetch(handlerOrUrl, ...(init ? [init] : [])), options),
      );
    }
    return adapterOf(await unlessAborted(loadArtifacts(handlerOrUrl, options), options.signal));
  } catch (error) {
    throw options.signal?.aborted === true ? abortError(options.signal) : error;
  }
}

async function loadArtifacts(
  handlerOrUrl: tf.io.IOHandler | string,
  options: LoadOptions,
): Promise<tf.io.ModelArtifacts> {
  const isWeb = typeof handlerOrUrl === 'string' && isFetched(handlerOrUrl);
  const handler = findHandler(handlerOrUrl, 'load', isWeb ? {fetchFunc: limitedFetch(options)} : {});
  const {load} = handler;
  if (load === undefined) {
    throw new LoRAError('The handler cannot load: it has no load function.');
  }
  const artifacts = await (typeof handlerOrUrl === 'string'
    ? withPlace(`Cannot load "${handlerOrUrl}"`, () => load.call(handler))
    : load.call(handler));
  const {maxBytes = Infinity} = options;
  const {weightData} = artifacts;
  const pieces: unknown[] = weightData === undefined ? [] : [weightData].flat();
  if (!pieces.every(piece => typeof (piece as Partial<ArrayBuffer> | null)?.byteLength === 'number')) {
    throw damagedError(`The weightData that was loaded must be one ArrayBuffer or a list, got ${show(weightData)}.`);
  }
  if (weightData !== undefined && [weightData].flat().reduce((sum, {byteLength}) => sum + byteLength, 0) > maxBytes) {
    throw tooLarge('The adapter', maxBytes);
  }
  return artifacts;
}

/** The adapter that was loaded. */
function adapterOf(artifacts: tf.io.ModelArtifacts): Adapter {
  const {modelTopology, weightSpecs, weightData} = artifacts;
  const {class_name: className, version, config: packed} = (modelTopology ?? {}) as Record<string, unknown>;
  if (className !== CLASS_NAME) {
    throw unsupportedError(
      `This is not an adapter but ${className === undefined ? 'something else' : `a ${show(className)}`}. Models ` +
        'are loaded with tf.loadLayersModel.',
    );
  }
  if (version !== VERSION) {
    throw unsupportedError(`The adapter is of format version ${show(version)}; this library reads version ${VERSION}.`);
  }
  const bytesOfFile = safetensorsOf(artifacts);
  if (bytesOfFile !== undefined) {
    return fromSafetensors(bytesOfFile);
  }
  const {config, parts} = withoutParts(packed);
  checkAdapterConfig(config);
  if (weightSpecs === undefined || weightData === undefined) {
    throw damagedError('The adapter has no tensors.');
  }
  // tfjs reads across the seams of bytes in several pieces wrongly.
  const {buffer} = joinedWeights(weightData);
  checkSpecs(weightSpecs, buffer.byteLength);
  return makeAdapter(config, unpackShared(parts, tf.io.decodeWeights(buffer, weightSpecs)));
}

/** The result of `f`. Errors of the network and of tfjs's handlers get the URL; a user's own handler throws its own. */
async function withPlace<T>(what: string, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (error) {
    throw asLoRAError(error, what, 'ERR_IO');
  }
}

/** Checks that the bytes are those that the list of tensors calls for, before anything is made of them. */
function checkSpecs(specs: unknown, present: number): void {
  if (!Array.isArray(specs)) {
    throw damagedError(`The adapter's file is broken: its list of tensors is ${show(specs)}.`);
  }
  const faults: string[] = [];
  const names = new Set<unknown>();
  for (const spec of specs as (Partial<tf.io.WeightsManifestEntry> | null)[]) {
    const {name, shape, dtype} = spec ?? {};
    if (typeof name !== 'string' || name === '__proto__') {
      faults.push(`a tensor cannot have the name ${show(name)}`);
    } else if (names.has(name)) {
      faults.push(`${name}: there twice`);
    }
    names.add(name);
    if (dtype !== 'float32') {
      faults.push(`${name}: of type ${dtype}, not float32`);
    } else if (spec !== null && 'quantization' in spec) {
      faults.push(
        `${name}: quantized, and adapters are not. For half the bytes, save as safetensors with dtype "float16"`,
      );
    } else if (!isSpec(spec)) {
      faults.push(`${name}: its shape is ${show(shape)}`);
    }
  }
  const bytes = faults.length === 0 ? bytesOfSpecs(specs as tf.io.WeightsManifestEntry[]) : present;
  if (bytes !== present) {
    faults.push(`the tensors take ${bytes} bytes, the file has ${present}`);
  }
  throwFaults(faults, 'ERR_DAMAGED', "The adapter's file is broken:");
}
