import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {kernelsOf, namedBase} from '../adapter/base';
import {checkOptions, damagedError, kindOf, LoRAError, show} from '../../platform/errors';
import {abortError, type CallOptions, throwIfAborted, unlessAborted, withOwnErrors} from '../../platform/signals';
import {checkLimits, type LoadOptions, tooLarge} from '../storage/limits';
import {isFetched, isSafetensors, loaderOf} from '../storage/places';
import {decodeAdapter} from '../storage/safetensors';
import {
  bytesOf,
  type ByteSource,
  fetched,
  isByteSource,
  isListOfFiles,
  limitedFetch,
  localFilesFor,
} from '../storage/sources';
import {adapterIn, withPlace} from '../storage/storage';
import {sitesOf} from '../rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {PEFT_FILES} from './peftFiles';
import type {KeyMap} from './modules';
import type {PEFTSource, PEFTSources} from './readPeft';

/** Sources of an adapter. */
export type AdapterSource = tf.io.IOHandler | ByteSource | PEFTSource;

/** How an adapter is loaded. */
export interface LoadAdapterOptions extends LoadOptions, CallOptions {
  /**
   * The model that the adapter belongs to. A PEFT adapter needs it, because it names PyTorch modules. For other
   * adapters, a warning says if it was trained on another base.
   */
  model?: tf.LayersModel;
  /**
   * For a PEFT adapter: the layer of each module. Default: equal paths, then the last part of the path, if unambiguous.
   */
  keyMap?: KeyMap;
}

/**
 * Loads an adapter in any supported format: from `saveAdapter` or `toSafetensors`, or a PEFT adapter, which needs the
 * model that it belongs to.
 *
 *     const emoji = await loadAdapter('https://example.com/emoji.safetensors');
 *     const picked = await loadAdapter(input.files);
 *     const fromPython = await loadAdapter('out/peft-adapter', {model, keyMap: {'encoder.*.fc': 'dense_*'}});
 *
 * From PEFT, it supports LoRA and DoRA of Linear, Conv1d, Conv2d, Conv3d and Embedding, and IA³, VeRA, LoHa and LoKr
 * where PEFT has them; rows of single tokens, with `tfjs-lora/transformers` imported; F32, F16 and BF16; `use_rslora`,
 * `rank_pattern`, `alpha_pattern`, `fan_in_fan_out`, `modules_to_save`, `bias`, `lora_bias` and
 * `trainable_token_indices`. Reduces a rank beyond what a layer can hold without loss. Refuses every other setting that
 * changes what the adapter computes. The layers of a new head, if the model has one, must be in `modules_to_save`.
 *
 * @param source a URL, in Node also a path; a handler of `tf.io`; a `Blob`, a `Response`, or bytes, of a safetensors
 *   file; the files that a user picked. For a PEFT adapter: its folder, one of its files, or `{config, weights}`, each
 *     as bytes, a `Blob`, a `Response`, or a promise of these. The URL of a folder whose name looks like that of a file
 *     ends in a slash. Promises of sources, such as `fetch(url)`, are awaited.
 * @param options the model that a PEFT adapter belongs to, which module is which layer, limits, and progress.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(base, adapter)` takes it over.
 * @throws LoRAError of code `ERR_NOT_FOUND` if nothing is there, `ERR_IO` if it cannot be read, `ERR_DAMAGED` if it is
 *     no adapter or a damaged one, `ERR_TOO_LARGE` if it has more bytes than are allowed, `ERR_UNSUPPORTED` if
 *     something is not supported, `ERR_MISFIT` if modules and layers do not fit each other, with a line for each,
 *     `ERR_ABORTED` if the signal is aborted. The model is not changed in any case.
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
  const {model, keyMap, ...limits} = options;
  checkLimits(limits);
  if (model !== undefined) {
    checkModel(model);
  }
  throwIfAborted(limits.signal);
  try {
    const resolved = await unlessAborted(Promise.resolve(source), limits.signal);
    if (!(await isPEFT(resolved, model !== undefined || keyMap !== undefined))) {
      if (keyMap !== undefined) {
        throw new LoRAError(
          `keyMap says which layers the modules of a PEFT adapter are, and the source is none, got ${kindOf(resolved)}. ` +
            `Pass the adapter's folder (as a URL with a slash at its end), its ${PEFT_FILES.config}, or {config, ` +
            'weights}; or leave keyMap out.',
        );
      }
      const adapter = await load(resolved, limits);
      await (model && namedBase(adapter)?.checkLater(kernelsOf(adapter, sitesOf(model))));
      return adapter;
    }
    if (model === undefined) {
      throw new LoRAError(
        'This is a PEFT adapter, which names PyTorch modules. Pass the model that it belongs to: ' +
          'loadAdapter(source, {model}).',
      );
    }
    // Most pages never read one.
    const {readPEFTFor} = await import('./importPeft');
    return await readPEFTFor(resolved as PEFTSource, model, keyMap, limits);
  } catch (error) {
    throw limits.signal?.aborted === true ? abortError(limits.signal) : error;
  }
}

/**
 * Whether a source may be a PEFT adapter: two files, or a place that holds them.
 *
 * @param isLikely whether other arguments are those of one. The address of a folder looks like any other, and this
 *     library may have written a file with that name.
 */
async function isPEFT(source: AdapterSource, isLikely: boolean): Promise<boolean> {
  if (isListOfFiles(source)) {
    return Array.from(source).some(({name}) => name === PEFT_FILES.config);
  }
  if (typeof source !== 'string' && !(source instanceof URL)) {
    const {config, weights, load} = ((source as unknown) ?? {}) as Partial<PEFTSources & tf.io.IOHandler>;
    return load === undefined && (config ?? weights) !== undefined;
  }
  const address = String(source);
  const listed = await localFilesFor(address)?.list(address);
  const [, name = ''] = /([^/\\]*?)(?:[?#].*)?$/s.exec(address) ?? [];
  // A number after a dot is a version: folder-1.0.
  const isFolder = isFetched(address) && !/\.(?!\d+$)/.test(name);
  return (
    name === PEFT_FILES.config ||
    (listed ?? []).some(path => path.endsWith(PEFT_FILES.config)) ||
    (isLikely && (name === PEFT_FILES.weights || isFolder))
  );
}

async function load(source: AdapterSource, limits: LoadOptions & CallOptions): Promise<Adapter> {
  if (isListOfFiles(source)) {
    const [file, ...laterFiles] = Array.from(source);
    if (file === undefined) {
      throw new LoRAError('The list of files is empty: no file was picked.');
    }
    const isAlone = laterFiles.length === 0 && !file.name.endsWith('.json');
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
