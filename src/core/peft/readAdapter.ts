import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {kernelsOf, namedBase} from '../adapter/base';
import {damagedError, kindOf, LoRAError, show} from '../../platform/errors';
import {type CallOptions, unlessAborted, withOwnErrors} from '../../platform/signals';
import {adapterIn, decodeAdapter} from '../storage/decodeAdapter';
import type {LoadOptions} from '../storage/limits';
import {tooLarge} from '../storage/tooLarge';
import {withHubName} from '../storage/hubName';
import {isFetched, isSafetensors, loaderOf} from '../storage/places';
import {
  bytesOf,
  type ByteSource,
  fetched,
  isByteSource,
  isListOfFiles,
  limitedFetch,
  listFolder,
  type SourceOptions,
} from '../storage/sources';
import {withPlace} from '../storage/storage';
import {sitesOf} from '../rewire/walk';
import {PEFT_FILES} from './peftFiles';
import type {KeyMap} from './modules';
import type {PEFTSource, PEFTSources} from './readPeft';

/** Sources of an adapter. */
export type AdapterSource = tf.io.IOHandler | ByteSource | PEFTSource;

/** Reads an adapter in any supported format, as `loadAdapter` does. The options are checked. */
export async function readAdapter(
  source: AdapterSource,
  model: tf.LayersModel | undefined,
  keyMap: KeyMap | undefined,
  limits: LoadOptions & CallOptions,
): Promise<Adapter> {
  const options: SourceOptions & CallOptions = {...limits, revisions: new Map()};
  if (!(await isPEFT(source, options, model !== undefined || keyMap !== undefined))) {
    if (keyMap !== undefined) {
      throw new LoRAError(
        `keyMap says which layers the modules of a PEFT adapter are, and the source is none, got ${kindOf(source)}. ` +
          `Pass the adapter's folder (as a URL with a slash at its end), its ${PEFT_FILES.config}, or {config, ` +
          'weights}; or leave keyMap out.',
      );
    }
    const adapter = await load(source, options).catch((error: unknown) => {
      throw withHubName(error, source);
    });
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
  return readPEFTFor(source as PEFTSource, model, keyMap, options).catch((error: unknown) => {
    throw withHubName(error, source);
  });
}

/**
 * Whether a source may be a PEFT adapter: two files, or a place that holds them.
 *
 * @param isLikely whether other arguments are those of one. The address of a folder looks like any other, and this
 *     library may have written a file with that name.
 */
async function isPEFT(source: AdapterSource, options: SourceOptions, isLikely: boolean): Promise<boolean> {
  if (isListOfFiles(source)) {
    return Array.from(source).some(({name}) => name === PEFT_FILES.config);
  }
  if (typeof source !== 'string' && !(source instanceof URL)) {
    const {config, weights, load} = ((source as unknown) ?? {}) as Partial<PEFTSources & tf.io.IOHandler>;
    return load === undefined && (config ?? weights) !== undefined;
  }
  const address = String(source);
  const listed = await listFolder(address, options);
  const [, name = ''] = /([^/\\]*?)(?:[?#].*)?$/s.exec(address) ?? [];
  // A number after a dot is a version: folder-1.0.
  const isFolder = isFetched(address) && !/\.(?!\d+$)/.test(name);
  return (
    name === PEFT_FILES.config ||
    (listed ?? []).some(path => path.endsWith(PEFT_FILES.config)) ||
    (isLikely && (name === PEFT_FILES.weights || isFolder))
  );
}

async function load(source: AdapterSource, limits: SourceOptions & CallOptions): Promise<Adapter> {
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
