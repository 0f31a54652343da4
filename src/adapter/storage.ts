import * as tf from '@tensorflow/tfjs';
import {type Adapter, checkOptions, kindOf, show} from '../config';
import {asLoRAError, LoRAError} from '../errors';
import {checkAdapter, checkAdapterConfig} from '../model/checkAdapter';
import {getAdapter, makeAdapter} from './adapter';
import {fromSafetensors, type SafetensorsOptions, toSafetensors} from './safetensors';
import {readAdapter} from './sources';

/** Marks a file as an adapter, where the file of a model holds its topology. */
const CLASS_NAME = 'LoRAAdapter';
const FORMAT = 'tfjs-lora-adapter';
const VERSION = 1;

/** Handlers for URL schemes for which tfjs may have none, by scheme. In Node, `file:`. */
export const fallbackHandlers = new Map<string, (url: string) => tf.io.IOHandler>();

/** How an adapter is saved. */
export interface SaveOptions extends SafetensorsOptions {
  /**
   * `'tfjs'`: JSON and float32 weights, as tfjs saves models. `'safetensors'`: the weights are the bytes of a safetensors file, which other
   * tools read too. Default: `'tfjs'`.
   */
  format?: 'tfjs' | 'safetensors';
}

/**
 * Saves the adapter of a model, or an adapter: its config and its tensors, and nothing of the base.
 *
 * @param handlerOrUrl what `model.save` takes: `indexeddb://…`, `localstorage://…`, `downloads://…`, `http(s)://…`, any `tf.io.IOHandler`; in
 *     Node also `file://…`, there with one that ends in `.safetensors` to have that format in one file.
 * @throws LoRAError if the model is not adapted, the adapter was disposed, nothing handles the URL, or an option does not exist.
 */
export async function saveAdapter(
  source: tf.LayersModel | Adapter,
  handlerOrUrl: tf.io.IOHandler | string,
  options: SaveOptions = {},
): Promise<tf.io.SaveResult> {
  checkOptions(options, ['format', 'dtype']);
  const {format = 'tfjs', dtype} = options;
  if (!['tfjs', 'safetensors'].includes(format)) {
    throw new LoRAError(`format must be "tfjs" or "safetensors", got ${show(format)}.`);
  }
  if (format === 'tfjs' && dtype !== undefined && dtype !== 'float32') {
    throw new LoRAError(`The format "tfjs" holds float32. For ${show(dtype)}, pass {format: 'safetensors', dtype}.`);
  }
  const handler = findHandler(handlerOrUrl, 'save');
  if (handler.save === undefined) {
    throw new LoRAError('The handler cannot save: it has no save function.');
  }
  const adapter = source instanceof tf.layers.Layer ? getAdapter(source) : source;
  checkAdapter(adapter);
  try {
    if (format === 'safetensors') {
      return await handler.save(safetensorsArtifacts(await toSafetensors(adapter, {...(dtype && {dtype})})));
    }
    const {data, specs} = await tf.io.encodeWeights({...adapter.tensors});
    return await handler.save({
      format: FORMAT,
      generatedBy: 'tfjs-lora',
      convertedBy: null,
      // JSON as it is: unlike a layer's config, an adapter's keeps the spelling of its keys and names.
      modelTopology: {class_name: CLASS_NAME, version: VERSION, config: adapter.config},
      weightSpecs: specs,
      weightData: data,
    });
  } finally {
    if (adapter !== source) {
      adapter.dispose();
    }
  }
}

/** A safetensors file as what tfjs's handlers carry: bytes whose spec says no more than how many there are. */
export function safetensorsArtifacts(bytes: Uint8Array): tf.io.ModelArtifacts {
  return {
    format: FORMAT,
    generatedBy: 'tfjs-lora',
    convertedBy: null,
    modelTopology: {class_name: CLASS_NAME, version: VERSION, format: 'safetensors'},
    // Of the types that a spec can have, the one of a single byte.
    weightSpecs: [{name: 'adapter.safetensors', shape: [bytes.length], dtype: 'bool'}],
    weightData: bytes.slice().buffer,
  };
}

/** The bytes that artifacts hold, if they are those of an adapter in this format. */
export function safetensorsOf({modelTopology, weightData}: tf.io.ModelArtifacts): Uint8Array | undefined {
  const {class_name: className, format} = (modelTopology ?? {}) as Record<string, unknown>;
  return className === CLASS_NAME && format === 'safetensors' && weightData !== undefined
    ? new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData))
    : undefined;
}

/**
 * Loads an adapter that `saveAdapter` saved, in either format. Apply it with `applyLoRA(base, adapter)`, then dispose it.
 *
 * @param handlerOrUrl what `tf.loadLayersModel` takes; it may be, over `http(s)://` or relative to the page, a `.safetensors` file. In Node also
 *     `file://…`.
 * @throws LoRAError if nothing handles the URL, it cannot be fetched, or what is there is not an adapter.
 */
export async function loadAdapter(handlerOrUrl: tf.io.IOHandler | string): Promise<Adapter> {
  if (
    typeof handlerOrUrl === 'string' &&
    isFetched(handlerOrUrl) &&
    /^[^?#]*\.safetensors(?:[?#]|$)/i.test(handlerOrUrl)
  ) {
    return loadedFrom(handlerOrUrl, () => readAdapter(fetch(handlerOrUrl)));
  }
  const handler = findHandler(handlerOrUrl, 'load');
  const {load} = handler;
  if (load === undefined) {
    throw new LoRAError('The handler cannot load: it has no load function.');
  }
  const artifacts = await (typeof handlerOrUrl === 'string'
    ? loadedFrom(handlerOrUrl, () => load.call(handler))
    : load.call(handler));
  const {modelTopology, weightSpecs, weightData} = artifacts;
  const {class_name: className, version, config} = (modelTopology ?? {}) as Record<string, unknown>;
  if (className !== CLASS_NAME) {
    throw new LoRAError(
      `This is not an adapter but ${className === undefined ? 'something else' : `a ${show(className)}`}. Models are loaded with tf.loadLayersModel.`,
    );
  }
  if (version !== VERSION) {
    throw new LoRAError(`The adapter is of format version ${show(version)}; this library reads version ${VERSION}.`);
  }
  const bytesOfFile = safetensorsOf(artifacts);
  if (bytesOfFile !== undefined) {
    return fromSafetensors(bytesOfFile);
  }
  checkAdapterConfig(config);
  if (weightSpecs === undefined || weightData === undefined) {
    throw new LoRAError('The adapter has no tensors.');
  }
  // tfjs reads across the seams of bytes in several pieces wrongly.
  const bytes = tf.io.CompositeArrayBuffer.join(weightData);
  checkSpecs(weightSpecs, bytes.byteLength);
  return makeAdapter(config, tf.io.decodeWeights(bytes, weightSpecs));
}

/** What `load` gives. What the network or a handler of tfjs throws is told with the URL; a handler of one's own throws its own. */
async function loadedFrom<T>(url: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw asLoRAError(error, `Cannot load "${url}"`);
  }
}

/** Checks that the bytes are those that the list of tensors calls for, before anything is made of them. */
function checkSpecs(specs: unknown, present: number): void {
  if (!Array.isArray(specs)) {
    throw new LoRAError(`The adapter's file is broken: its list of tensors is ${show(specs)}.`);
  }
  const faults: string[] = [];
  const names = new Set<unknown>();
  let bytes = 0;
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
    }
    if (Array.isArray(shape) && shape.every(size => Number.isInteger(size) && size >= 0)) {
      bytes += 4 * tf.util.sizeFromShape(shape);
    } else {
      faults.push(`${name}: its shape is ${show(shape)}`);
    }
  }
  if (faults.length === 0 && bytes !== present) {
    faults.push(`the tensors take ${bytes} bytes, the file has ${present}`);
  }
  if (faults.length > 0) {
    throw new LoRAError(`The adapter's file is broken:\n${faults.map(fault => `  ${fault}`).join('\n')}`);
  }
}

/** The scheme of a URL, such as `file:`. */
function schemeOf(url: string): string | undefined {
  return /^([a-z][a-z\d+.-]*:)\/\//i.exec(url)?.[1]?.toLowerCase();
}

/** Whether a URL is one of the web's, or in a browser a path relative to the page, as tf.loadLayersModel takes it. */
function isFetched(url: string): boolean {
  const scheme = schemeOf(url);
  return scheme === undefined ? tf.env().getBool('IS_BROWSER') : scheme === 'http:' || scheme === 'https:';
}

function findHandler(handlerOrUrl: tf.io.IOHandler | string, action: 'save' | 'load'): tf.io.IOHandler {
  if (typeof handlerOrUrl === 'object' && (handlerOrUrl as unknown) !== null) {
    return handlerOrUrl;
  }
  if (typeof handlerOrUrl !== 'string') {
    throw new LoRAError(`A URL or a tf.io.IOHandler is needed to ${action} an adapter, got ${kindOf(handlerOrUrl)}.`);
  }
  const url = handlerOrUrl;
  const handlers = action === 'save' ? tf.io.getSaveHandlers(url) : tf.io.getLoadHandlers(url);
  if (handlers.length > 1) {
    throw new LoRAError(`${handlers.length} handlers of tfjs feel responsible for "${url}". Pass one of them instead.`);
  }
  const handler = handlers[0] ?? fallbackHandlers.get(schemeOf(url) ?? '')?.(url);
  if (handler !== undefined) {
    return handler;
  }
  if (action === 'load' && schemeOf(url) === undefined && isFetched(url)) {
    return tf.io.http(url);
  }
  throw new LoRAError(
    `Nothing here can ${action} "${url}". In a browser there are indexeddb://, localstorage://, downloads:// and http(s)://; in Node ` +
      'file:// and fileHandler(path); anywhere, a tf.io.IOHandler of your own.',
  );
}
