import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {kernelsOf, namedBase} from '../adapter/base';
import {checkOptions, damagedError, kindOf, LoRAError, show} from '../../platform/errors';
import {abortError, type CallOptions, throwIfAborted, unlessAborted, withOwnErrors} from '../../platform/signals';
import {checkLimits, type LoadOptions, tooLarge} from '../storage/limits';
import {isFetched, isSafetensors, loaderOf} from '../storage/places';
import {decodeAdapter} from '../storage/safetensors';
import {bytesOf, type ByteSource, fetched, isByteSource, limitedFetch, localFilesFor} from '../storage/sources';
import {adapterIn, withPlace} from '../storage/storage';
import {checkModel, sitesOf} from '../rewire/walk';
import {importPEFT} from './exchange';
import {PEFT_FILES} from './peftFiles';
import type {KeyMap} from './modules';
import type {PEFTSource} from './readPeft';

/** Sources of an adapter. */
export type AdapterSource = tf.io.IOHandler | ByteSource | PEFTSource;

/** How an adapter is loaded. */
export interface LoadAdapterOptions extends LoadOptions, CallOptions {
  /**
   * The model that the adapter belongs to. A PEFT adapter needs it, because it names PyTorch modules. For other
   * adapters, a warning says if it was trained on another base.
   */
  model?: tf.LayersModel;
  /** For a PEFT adapter: the layer of each module, as for `importPEFT`. */
  keyMap?: KeyMap;
}

/**
 * Loads an adapter in any supported format: from `saveAdapter` or `toSafetensors`, or a PEFT adapter, which needs the
 * model that it belongs to.
 *
 *     const emoji = await loadAdapter('https://example.com/emoji.safetensors');
 *     const picked = await loadAdapter(input.files);
 *     const fromPython = await loadAdapter('out/peft-adapter', {model});
 *
 * @param source a URL, in Node also a path; a handler of `tf.io`; a `Blob`, a `Response`, or bytes, of a safetensors
 *   file; the files that a user picked. For a PEFT adapter: its folder, one of its files, or `{config, weights}`.
 *     Promises of these, such as `fetch(url)`, are awaited.
 * @param options the model that a PEFT adapter belongs to, limits, and progress.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(base, adapter)` takes it over.
 * @throws LoRAError of code `ERR_NOT_FOUND` if nothing is there, `ERR_IO` if it cannot be read, `ERR_DAMAGED` if it is
 *     no adapter or a damaged one, `ERR_TOO_LARGE` if it has more bytes than are allowed, `ERR_MISFIT` if a PEFT
 *     adapter does not fit the model, `ERR_ABORTED` if the signal is aborted.
 */
export async function loadAdapter(
  source: AdapterSource | PromiseLike<AdapterSource>,
  options: LoadAdapterOptions = {},
): Promise<Adapter> {
  checkOptions(
    options,
    {model: true, keyMap: true, maxBytes: true, signal: true, onProgress: true},
    "loadAdapter('adapter.safetensors', {model})",
  );
  const {model, ...others} = options;
  const {keyMap: _, ...limits} = others;
  checkLimits(limits);
  if (model !== undefined) {
    checkModel(model);
  }
  throwIfAborted(limits.signal);
  try {
    const given = await unlessAborted(Promise.resolve(source), limits.signal);
    if (!(await isPEFT(given, model))) {
      const adapter = await load(given, limits);
      await (model && namedBase(adapter)?.checkLater(kernelsOf(adapter, sitesOf(model))));
      return adapter;
    }
    if (model === undefined) {
      throw new LoRAError(
        'This is a PEFT adapter, which names PyTorch modules. Pass the model that it belongs to: ' +
          'loadAdapter(source, {model}).',
      );
    }
    return await importPEFT(given as PEFTSource, model, others);
  } catch (error) {
    throw limits.signal?.aborted === true ? abortError(limits.signal) : error;
  }
}

/** Whether a source may be a PEFT adapter: two files, or a place that holds them. */
async function isPEFT(source: AdapterSource, model: tf.LayersModel | undefined): Promise<boolean> {
  if (isListOfFiles(source)) {
    return Array.from(source).some(({name}) => name === PEFT_FILES.config);
  }
  if (typeof source !== 'string' && !(source instanceof URL)) {
    return typeof source === 'object' && (source as unknown) !== null && 'weights' in source;
  }
  const address = String(source);
  const listed = await localFilesFor(address)?.list(address);
  const [, name = ''] = /([^/\\]*?)(?:[?#].*)?$/s.exec(address) ?? [];
  return (
    name === PEFT_FILES.config ||
    (listed ?? []).some(path => path.endsWith(PEFT_FILES.config)) ||
    // The address of a folder looks like any other, and this library may have written a file with that name.
    (model !== undefined && (name === PEFT_FILES.weights || (isFetched(address) && !name.includes('.'))))
  );
}

function isListOfFiles(source: unknown): source is ArrayLike<File> {
  return typeof source === 'object' && source !== null && 'length' in source && !isByteSource(source);
}

async function load(source: AdapterSource, limits: LoadOptions & CallOptions): Promise<Adapter> {
  if (isListOfFiles(source)) {
    const [file, ...others] = Array.from(source);
    if (file === undefined) {
      throw new LoRAError('The list of files is empty: no file was picked.');
    }
    const isAlone = others.length === 0 && !file.name.endsWith('.json');
    return load(isAlone ? file : tf.io.browserFiles(Array.from(source)), limits);
  }
  if (isByteSource(source)) {
    return decodeAdapter(await bytesOf(source, limits));
  }
  const place = source instanceof URL ? String(source) : source;
  if (typeof place !== 'string' && (typeof place !== 'object' || (place as unknown) === null)) {
    throw new LoRAError(
      'The source of an adapter must be a URL, in Node a path, a tf.io.IOHandler, files, a Response, or bytes, ' +
        `got ${kindOf(source)}.`,
    );
  }
  const isBytes =
    typeof place === 'string' && (/^(?:blob|data):/.test(place) || (isFetched(place) && isSafetensors(place)));
  return isBytes
    ? decodeAdapter(await bytesOf(await fetched(place, limits), limits))
    : adapterIn(await unlessAborted(loadArtifacts(place as tf.io.IOHandler | string, limits), limits.signal));
}

async function loadArtifacts(
  handlerOrUrl: tf.io.IOHandler | string,
  limits: LoadOptions & CallOptions,
): Promise<tf.io.ModelArtifacts> {
  const isWeb = typeof handlerOrUrl === 'string' && isFetched(handlerOrUrl);
  const artifacts = await withOwnErrors(limits, watched => {
    const handler = loaderOf(handlerOrUrl, isWeb ? {fetchFunc: limitedFetch(watched)} : {});
    return withPlace('load', handlerOrUrl, () => handler.load());
  });
  const {maxBytes = Infinity} = limits;
  const {weightData} = artifacts;
  const pieces: unknown[] = weightData === undefined ? [] : [weightData].flat();
  if (!pieces.every(piece => typeof (piece as Partial<ArrayBuffer> | null)?.byteLength === 'number')) {
    throw damagedError(`The weightData that was loaded must be one ArrayBuffer or a list, got ${show(weightData)}.`);
  }
  if ((pieces as ArrayBuffer[]).reduce((sum, {byteLength}) => sum + byteLength, 0) > maxBytes) {
    throw tooLarge('The adapter', maxBytes);
  }
  return artifacts;
}
