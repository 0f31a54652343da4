import * as tf from '@tensorflow/tfjs';
import {type Adapter, loadAdapter, saveAdapter} from 'tfjs-lora';
import {labelCount} from './reader';

/** Where the browser keeps the adapter. */
const URL_IN_BROWSER = 'indexeddb://digit-reader-adapter';
/** No adapter of this page is nearly as large. */
const MAX_BYTES = 2 ** 24;

/** An adapter with the labels of its head. */
export interface LabelledAdapter {
  adapter: Adapter;
  labels: readonly string[];
}

/** Keeps an adapter in the browser. */
export async function keepInBrowser(labelled: LabelledAdapter): Promise<void> {
  await save(labelled, browserHandler());
}

/** The adapter that the browser keeps, if any. */
export async function findInBrowser(): Promise<LabelledAdapter | null> {
  return URL_IN_BROWSER in (await tf.io.listModels()) ? load(browserHandler()) : null;
}

export async function removeFromBrowser(): Promise<void> {
  if (URL_IN_BROWSER in (await tf.io.listModels())) {
    await tf.io.removeModel(URL_IN_BROWSER);
  }
}

/** An adapter in memory, as `saveAdapter` passes it on. */
export async function toArtifacts(labelled: LabelledAdapter): Promise<tf.io.ModelArtifacts> {
  let result: tf.io.ModelArtifacts = {};
  await save(
    labelled,
    tf.io.withSaveHandler(artifacts => {
      result = artifacts;
      return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}});
    }),
  );
  return result;
}

export function fromArtifacts(artifacts: tf.io.ModelArtifacts): Promise<LabelledAdapter> {
  return load(tf.io.fromMemory(artifacts));
}

/** An adapter as one file: the contents of tfjs's two files, with the weights in base64. */
export async function toFile(labelled: LabelledAdapter): Promise<Blob> {
  const {weightData, ...rest} = await toArtifacts(labelled);
  const bytes = new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData));
  const text = Array.from(bytes, byte => String.fromCharCode(byte)).join('');
  return new Blob([JSON.stringify({...rest, weightData: btoa(text)})], {type: 'application/json'});
}

/**
 * Reads an adapter from a file of `toFile`, from one of `toSafetensors`, which has no labels, or from the two files of
 * `saveAdapter(model, 'downloads://…')`.
 *
 * @throws Error that names the files and says what is wrong with them.
 */
export async function fromFiles(files: readonly File[]): Promise<LabelledAdapter> {
  const names = files.map(({name}) => name).join(' and ');
  const bytes = files.reduce((sum, {size}) => sum + size, 0);
  if (bytes > MAX_BYTES) {
    throw new Error(`${names}: ${(bytes / 2 ** 20).toFixed(0)} MiB are too much for an adapter of this page.`);
  }
  try {
    const [first] = files;
    if (files.length === 1 && first !== undefined && endsWith(first, '.safetensors')) {
      return withLabels(await loadAdapter(new Uint8Array(await first.arrayBuffer())), {});
    }
    const [json, ...weights] = [...files].sort((a, b) => Number(endsWith(b, '.json')) - Number(endsWith(a, '.json')));
    if (json === undefined || weights.length > 1) {
      throw new Error('an adapter is one .json or .safetensors file, or a .json and a .bin file');
    }
    return await (weights.length === 1 ? load(tf.io.browserFiles([json, ...weights])) : fromOneFile(json));
  } catch (error) {
    throw new Error(`${names}: ${(error as Error).message}`, {cause: error});
  }
}

async function fromOneFile(file: File): Promise<LabelledAdapter> {
  const text = await file.text();
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error('this is not an adapter of this page, it is not even JSON.', {cause: error});
  }
  const {weightData, ...rest} = (content ?? {}) as Record<string, unknown>;
  if (rest.weightsManifest !== undefined) {
    throw new Error('the weights are missing. Drop the .bin file together with it.');
  }
  return load(tf.io.fromMemory({...rest, ...(typeof weightData === 'string' && {weightData: decode(weightData)})}));
}

function decode(base64: string): ArrayBuffer {
  try {
    return Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)).buffer;
  } catch (error) {
    throw new Error('the weights are damaged.', {cause: error});
  }
}

function endsWith({name}: File, ending: string): boolean {
  return name.toLowerCase().endsWith(ending);
}

function browserHandler(): tf.io.IOHandler {
  const [handler] = tf.io.getSaveHandlers(URL_IN_BROWSER);
  if (handler === undefined) {
    throw new Error('This browser has no IndexedDB.');
  }
  return handler;
}

/** Saves labels with the adapter, as tfjs's user-defined metadata. */
async function save({adapter, labels}: LabelledAdapter, handler: tf.io.IOHandler): Promise<void> {
  await saveAdapter(
    adapter,
    tf.io.withSaveHandler(artifacts => handler.save!({...artifacts, userDefinedMetadata: {labels}})),
  );
}

async function load(handler: tf.io.IOHandler): Promise<LabelledAdapter> {
  const artifacts = await handler.load!();
  return withLabels(await loadAdapter(tf.io.fromMemory(artifacts)), artifacts);
}

/** @throws Error if the adapter brings no head, as one of another program may. */
function withLabels(adapter: Adapter, artifacts: tf.io.ModelArtifacts): LabelledAdapter {
  const count = labelCount(adapter);
  if (count === 0) {
    adapter.dispose();
    throw new Error('The adapter has no head that tells labels apart. It is none of this page.');
  }
  return {adapter, labels: labelsOf(artifacts, count)};
}

/** The labels in a file, or numbers if it has none that fit. */
function labelsOf({userDefinedMetadata}: tf.io.ModelArtifacts, count: number): string[] {
  const labels: unknown = userDefinedMetadata?.labels;
  const fit =
    Array.isArray(labels) &&
    labels.length === count &&
    new Set(labels).size === count &&
    labels.every(label => typeof label === 'string' && label !== '');
  return fit ? (labels as string[]) : Array.from({length: count}, (_, i) => `symbol ${i + 1}`);
}
