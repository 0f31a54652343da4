import {readdir, stat} from 'node:fs/promises';
import {basename, dirname, join, resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  damagedError,
  LoRAError,
  messageOf,
  misfitError,
  notFoundError,
  prefixed,
  unsupportedError,
} from '../platform/errors';
import {type Adapter, fileHandler, type KeyMap, loadAdapter, loadKerasModel} from '../node';
import {jsonText} from '../platform/formats/explained';
import {formatError} from '../platform/formats/explained';
import {FROM_TENSORFLOW, otherFormat} from '../platform/formats/otherFormats';
import {fromGraphModel} from '../graph';
import {fromONNX} from '../onnx';
import {loadGGUF} from '../language';
import {loadTransformer} from '../transformers';
import {isHub} from '../core/storage/hubName';
import {listFolder} from '../core/storage/sources';
import {read} from '../node/files';
import {closestTo} from '../platform/closest';
import type {Arguments, Terminal} from './command';

export interface Source {
  kind: 'adapter' | 'PEFT adapter' | 'layers model' | 'graph model' | 'ONNX model' | 'hub model' | 'GGUF model';
  /** The file that names the rest, or the folder of a PEFT adapter or a hub model. */
  path: string;
}

/** A base, and the graph or ONNX file that it was made from, if any. */
interface Base {
  model: tf.LayersModel;
  graph?: tf.GraphModel;
  onnx?: ONNXFile;
}

/** An ONNX file, and its files of external data. */
interface ONNXFile {
  path: string;
  externalData: Record<string, string>;
}

/** Whether a model is published for other programs, and becomes one of tfjs when it is loaded. */
export function isPublished(kind: Source['kind']): boolean {
  return kind === 'hub model' || kind === 'GGUF model';
}

/** The file of an address of the Hugging Face hub, by its ending; an address with another ending is a folder. */
async function hubSource(path: string): Promise<Source> {
  const kinds = {'.gguf': 'GGUF model', '.onnx': 'ONNX model', '.safetensors': 'adapter', '.json': 'adapter'} as const;
  const ending = Object.keys(kinds).find(name => path.endsWith(name)) as keyof typeof kinds | undefined;
  if (ending !== undefined) {
    return {kind: kinds[ending], path};
  }
  const names = ((await listFolder(path, {})) ?? []).map(name => basename(name));
  if (names.includes('adapter_config.json')) {
    return {kind: 'PEFT adapter', path};
  }
  if (!names.includes('config.json')) {
    throw notFoundError(`${path} contains neither adapter_config.json nor config.json. Name the file: ${path}/<file>.`);
  }
  return {kind: 'hub model', path};
}

/**
 * Finds out what is under a path.
 *
 * @throws LoRAError if nothing is there, with the closest name, or it is something else.
 */
export async function sourceAt(path: string): Promise<Source> {
  if (isHub(path)) {
    return hubSource(path);
  }
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) {
    const beside = await readdir(dirname(path)).catch((): string[] => []);
    const [closest] = closestTo(basename(path), beside);
    const advice = closest === undefined ? '' : ` Did you mean ${join(dirname(path), closest)}?`;
    throw notFoundError(`There is no ${path}.${advice}`);
  }
  if (!stats.isFile() && !stats.isDirectory()) {
    throw unsupportedError(`${path} is neither a file nor a folder.`);
  }
  if (stats.isDirectory()) {
    const names = await readdir(path);
    if (names.includes('adapter_config.json')) {
      return {kind: 'PEFT adapter', path};
    }
    if (names.includes('saved_model.pb')) {
      throw unsupportedError(`${path} is a SavedModel of TensorFlow. ${FROM_TENSORFLOW}`);
    }
    if (!names.includes('model.json')) {
      if (names.includes('config.json')) {
        return {kind: 'hub model', path};
      }
      throw notFoundError(
        `${path} contains neither adapter_config.json, as a PEFT adapter does, nor model.json, as a model does, nor ` +
          'config.json, as a model of the Hugging Face hub does.',
      );
    }
    return sourceAt(join(path, 'model.json'));
  }
  if (/^adapter_(?:config\.json|model\.safetensors)$/.test(basename(path))) {
    return sourceAt(dirname(path));
  }
  if (path.endsWith('.safetensors')) {
    return {kind: 'adapter', path};
  }
  if (path.endsWith('.onnx')) {
    return {kind: 'ONNX model', path};
  }
  if (path.endsWith('.gguf')) {
    return {kind: 'GGUF model', path};
  }
  return {kind: kindOf(path, await read(path, ADVICE)), path};
}

function kindOf(path: string, file: Buffer): Source['kind'] {
  let json: {format?: unknown; modelTopology?: {class_name?: unknown; node?: unknown} | null} | null;
  try {
    json = JSON.parse(file.toString()) as typeof json;
  } catch (error) {
    const other = otherFormat(file, 'an adapter or a model of TensorFlow.js');
    if (other !== undefined) {
      throw prefixed(`${path}: `, formatError(other));
    }
    throw damagedError(`${path} is neither a .safetensors or .onnx file nor JSON: ${messageOf(error)}`, {cause: error});
  }
  const topology = json?.modelTopology;
  if (typeof topology !== 'object' || topology === null) {
    throw damagedError(`${path} has no "modelTopology": it is neither an adapter nor a model of TensorFlow.js.`);
  }
  if (topology.class_name === 'LoRAAdapter') {
    return 'adapter';
  }
  return json?.format === 'graph-model' || topology.node !== undefined ? 'graph model' : 'layers model';
}

const ADVICE = 'It must be a file that can be read whole.';

/**
 * The result of `load` for a file.
 *
 * @throws LoRAError that names the file, if it cannot be read.
 */
export async function named<T>(path: string, load: () => T | Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw messageOf(error).includes(path) ? error : prefixed(`${path} cannot be read: `, error);
  }
}

/** The options of commands that read a base or an adapter of PEFT. */
export const MODEL_OPTIONS = {
  'key-map': {value: '<file.json>', help: 'which layer belongs to which module of PEFT, as loadAdapter takes it'},
  register: {value: '<module>', help: 'a module that registers your own layers, imported first'},
} as const;

/**
 * The base under a path; a graph or an ONNX model as layers.
 *
 * @throws LoRAError if it is not a model, or cannot be loaded.
 */
export async function loadBase(path: string, {err}: Terminal): Promise<Base> {
  const source = await sourceAt(path);
  if (source.kind === 'adapter' || source.kind === 'PEFT adapter') {
    throw misfitError(`${path} is an adapter, not a model.`);
  }
  err(`Reading the ${source.kind} ${source.path}`);
  return named(source.path, async () => {
    if (source.kind === 'layers model') {
      return {model: await loadKerasModel(fileHandler(source.path))};
    }
    if (isPublished(source.kind)) {
      return {model: await loadPublished(source)};
    }
    if (source.kind === 'ONNX model' && isHub(path)) {
      return {model: await fromONNX(path), onnx: {path, externalData: {}}};
    }
    if (source.kind === 'ONNX model') {
      // A model names files in its own folder alone.
      const names = await readdir(dirname(source.path));
      const externalData = Object.fromEntries(names.map(name => [name, join(dirname(source.path), name)]));
      return {model: await fromONNX(source.path, {externalData}), onnx: {path: source.path, externalData}};
    }
    const graph = await tf.loadGraphModel(fileHandler(source.path));
    return {model: await fromGraphModel(graph), graph};
  });
}

/** A hub model or a GGUF model as layers, without its tokenizer. */
export async function loadPublished({kind, path}: Source): Promise<tf.LayersModel> {
  const options = {tokenizer: false} as const;
  return (await (kind === 'GGUF model' ? loadGGUF(path, options) : loadTransformer(path, options))).model;
}

/**
 * The adapter under a path.
 *
 * @param beside the model that it belongs to, which a PEFT adapter needs, and a key map.
 * @throws LoRAError if it is not an adapter, is damaged, or does not fit the base.
 */
export async function readAnyAdapter(path: string, {model, keyMap}: Beside, {err}: Terminal): Promise<Adapter> {
  const source = await sourceAt(path);
  if (source.kind === 'adapter') {
    err(`Reading the adapter ${source.path}`);
    return named(source.path, () => loadAdapter(isHub(path) ? path : fileHandler(source.path)));
  }
  if (source.kind !== 'PEFT adapter') {
    throw misfitError(`${path} is a ${source.kind}, not an adapter.`);
  }
  if (model === undefined) {
    throw new LoRAError(
      `${path} is a PEFT adapter, which names PyTorch modules. Pass the model that it belongs to: --model <path>.`,
    );
  }
  err(`Reading the PEFT adapter ${source.path}`);
  return named(source.path, () => loadAdapter(source.path, {model, ...(keyMap && {keyMap})}));
}

export async function keyMapAt(file: string | undefined): Promise<KeyMap | undefined> {
  if (file === undefined) {
    return undefined;
  }
  try {
    return JSON.parse(await jsonText(await read(file, ADVICE), 'a key map')) as KeyMap;
  } catch (error) {
    throw damagedError(`The key map ${file} cannot be read: ${messageOf(error)}`, {cause: error});
  }
}

export interface Beside {
  model: tf.LayersModel | undefined;
  keyMap: KeyMap | undefined;
}

/** The base and the key map that the options of a command name, after the module that registers layers. */
export async function besideOf({values}: Arguments, terminal: Terminal): Promise<Beside> {
  const {model, 'key-map': map, register: module} = values;
  await register(module);
  const keyMap = await keyMapAt(map);
  return {keyMap, model: model === undefined ? undefined : (await loadBase(model, terminal)).model};
}

export async function register(module: string | undefined): Promise<void> {
  if (module === undefined) {
    return;
  }
  try {
    await import(pathToFileURL(resolve(module)).href);
  } catch (error) {
    throw unsupportedError(`The module ${module} cannot be imported: ${messageOf(error)}`, {cause: error});
  }
}
