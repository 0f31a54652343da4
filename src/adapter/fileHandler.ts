import {randomUUID} from 'node:crypto';
import {copyFileSync, linkSync, renameSync} from 'node:fs';
import {mkdir, rm} from 'node:fs/promises';
import {basename, dirname, isAbsolute, join, relative, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {checkPath, read, writeAtomically, writeThrough} from './files';
import {safetensorsArtifacts, safetensorsOf} from './storage';

const BYTES: Partial<Record<string, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  complex64: 8,
  float16: 2,
  uint16: 2,
  uint8: 1,
};

/**
 * Reads and writes models and adapters on disk in Node, without tfjs-node and in its file layout, so that the files of one can be
 * read by the other.
 *
 *     await model.save(fileHandler('out/emoji'));               // out/emoji/model.json, out/emoji/weights.bin
 *     await saveAdapter(model, fileHandler('out/emoji.json'));  // out/emoji.json, out/emoji.weights.bin
 *     await saveAdapter(model, fileHandler('out/emoji.safetensors'), {format: 'safetensors'});
 *     const base = await tf.loadLayersModel(fileHandler('out/emoji'));
 *
 * A save is atomic: until all its bytes are on disk the earlier file is whole and readable, and a save that fails leaves that one
 * as it was and nothing of its own.
 *
 * @param path A folder, in which the files are `model.json` and `weights.bin`; a path that ends in `.json`, beside which the weights lie;
 *     or one that ends in `.safetensors`, of an adapter in one file. Folders are made as needed. A `file://` prefix is allowed: an absolute one is read as a URL (`%20` is a space), a
 *     relative one (`file://./out`) as tfjs-node reads it.
 * @throws LoRAError at once when the path is empty or no file URL, from `load` when a file is missing or damaged, from `save` when
 *     what it is given cannot be written as such files.
 */
export function fileHandler(path: string): tf.io.IOHandler {
  checkPath(path);
  const target = pathOf(path);
  if (target.endsWith('.safetensors')) {
    return {load: () => loadSafetensors(target), save: artifacts => saveSafetensors(target, artifacts)};
  }
  const json = target.endsWith('.json') ? target : join(target, 'model.json');
  return {load: () => load(json), save: artifacts => save(json, artifacts)};
}

function pathOf(path: string): string {
  if (path.startsWith('file:///')) {
    try {
      // `?` and `#` are ordinary characters in the names of files.
      return fileURLToPath(path.replace(/[?#]/g, encodeURIComponent));
    } catch {
      throw new LoRAError(`"${path}" is not a valid file URL. Pass the plain path instead.`);
    }
  }
  const plain = path.replace(/^file:\/\//, '');
  if (plain === '') {
    throw new LoRAError(`A path is needed, of a folder or of a .json file, got "${path}".`);
  }
  return plain;
}

async function loadSafetensors(file: string): Promise<tf.io.ModelArtifacts> {
  return safetensorsArtifacts(await read(file, 'Check the path; it must be a saved adapter.'));
}

async function saveSafetensors(file: string, artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> {
  const bytes = safetensorsOf(artifacts);
  if (bytes === undefined) {
    throw new LoRAError(
      `${file} can hold an adapter of the format safetensors and nothing else: saveAdapter(model, handler, {format: 'safetensors'}).`,
    );
  }
  await writeAtomically([[file, bytes]]);
  return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
}

/** What tfjs itself calls the weights of `model.json`, and for `name.json` a name that keeps several apart in one folder. */
function weightsFileFor(json: string): string {
  const name = basename(json, '.json');
  return name === 'model' ? 'weights.bin' : `${name}.weights.bin`;
}

async function load(json: string): Promise<tf.io.ModelArtifacts> {
  const model = await readJSON(json);
  const manifest: unknown = model.weightsManifest;
  if (manifest === undefined) {
    return tf.io.getModelArtifactsForJSONSync(model);
  }
  if (!isManifest(manifest)) {
    throw new LoRAError(
      `${json} is damaged: its "weightsManifest" is not a list of {paths, weights} with a name, shape and dtype for each weight.`,
    );
  }
  const specs: tf.io.WeightsManifestEntry[] = [];
  const parts: Uint8Array[] = [];
  for (const {paths, weights} of manifest) {
    const shards = await Promise.all(paths.map(path => readShard(json, path)));
    const bytes = concatenate(shards);
    const expected = byteLength(weights, bytes);
    if (bytes.byteLength !== expected) {
      throw new LoRAError(
        `The weights of ${json} are damaged: ${paths.join(', ')} should have ${expected} bytes but has ${bytes.byteLength}. ` +
          'Copy the weights again from where the JSON came from.',
      );
    }
    specs.push(...weights);
    parts.push(bytes);
  }
  return tf.io.getModelArtifactsForJSONSync(model, specs, concatenate(parts).buffer);
}

async function readJSON(json: string): Promise<tf.io.ModelJSON> {
  const text = await read(json, 'Check the path; it must be a saved model or adapter.');
  let model: unknown;
  try {
    model = JSON.parse(text.toString('utf8'));
  } catch (error) {
    throw new LoRAError(`${json} is not valid JSON: ${(error as Error).message}`);
  }
  if (!isRecord(model) || !isRecord(model.modelTopology)) {
    throw new LoRAError(
      `${json} has no "modelTopology": it is neither a TensorFlow.js model nor an adapter. (The tensorflowjs converter makes one from a Keras file.)`,
    );
  }
  return model as unknown as tf.io.ModelJSON;
}

async function readShard(json: string, path: string): Promise<Uint8Array> {
  const folder = resolve(dirname(json));
  const file = resolve(folder, path);
  const inside = relative(folder, file);
  // A downloaded model must not be able to name files elsewhere on the machine that loads it.
  if (isAbsolute(path) || isAbsolute(inside) || inside === '' || /^\.\.(?:[\\/]|$)/.test(inside)) {
    throw new LoRAError(
      `${json} names the weights file "${path}", which is not inside its own folder. Put the weights beside the JSON and name them relative to it.`,
    );
  }
  return read(file, `${json} names it: put the weights beside the JSON.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isManifest(value: unknown): value is tf.io.WeightsManifestConfig {
  return (
    Array.isArray(value) &&
    value.every(
      group =>
        isRecord(group) &&
        Array.isArray(group.paths) &&
        group.paths.every(path => typeof path === 'string') &&
        Array.isArray(group.weights) &&
        group.weights.every(isSpec),
    )
  );
}

function isSpec(spec: unknown): spec is tf.io.WeightsManifestEntry {
  return (
    isRecord(spec) &&
    typeof spec.name === 'string' &&
    typeof spec.dtype === 'string' &&
    Array.isArray(spec.shape) &&
    spec.shape.every(size => Number.isInteger(size) && size >= 0) &&
    (spec.quantization === undefined || isRecord(spec.quantization))
  );
}

/** The bytes that weights of these specs take; strings, which carry their own lengths, are measured in `bytes`. */
function byteLength(specs: tf.io.WeightsManifestEntry[], bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  for (const {name, shape, dtype, quantization} of specs) {
    const size = tf.util.sizeFromShape(shape);
    const stored = quantization?.dtype ?? dtype;
    if (stored === 'string') {
      for (let i = 0; i < size && offset + 4 <= view.byteLength; i++) {
        offset += 4 + view.getUint32(offset, true);
      }
      continue;
    }
    const each = BYTES[stored];
    if (each === undefined) {
      throw new LoRAError(`Weight "${name}" is stored as ${stored}, which TensorFlow.js cannot read.`);
    }
    offset += size * each;
  }
  return offset;
}

function concatenate(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.byteLength;
  }
  return whole;
}

async function save(json: string, artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> {
  const {modelTopology, weightSpecs = [], weightData = []} = artifacts;
  if (!isRecord(modelTopology) || modelTopology instanceof ArrayBuffer) {
    throw new LoRAError(`Only a model or adapter with a JSON topology can be saved to ${json}.`);
  }
  const bytes = concatenate([weightData].flat().map(buffer => new Uint8Array(buffer)));
  const expected = byteLength(weightSpecs, bytes);
  if (bytes.byteLength !== expected) {
    throw new LoRAError(
      `The weights to be saved to ${json} have ${bytes.byteLength} bytes, but their specs add up to ${expected}.`,
    );
  }
  await write(json, bytes, weightsFile =>
    JSON.stringify(jsonFor(artifacts, [{paths: [weightsFile], weights: weightSpecs}])),
  );
  return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
}

function jsonFor(artifacts: tf.io.ModelArtifacts, weightsManifest: tf.io.WeightsManifestConfig): tf.io.ModelJSON {
  const {modelTopology = {}, format, generatedBy, convertedBy} = artifacts;
  const {signature, userDefinedMetadata, modelInitializer, initializerSignature, trainingConfig} = artifacts;
  return {
    modelTopology,
    format,
    generatedBy,
    convertedBy,
    weightsManifest,
    // Those that are undefined leave no trace in the JSON.
    signature,
    userDefinedMetadata,
    modelInitializer,
    initializerSignature,
    trainingConfig,
  };
}

/**
 * Puts weights and JSON in place of earlier ones such that at every instant the JSON on disk names complete weights of its own.
 *
 * Two files cannot be renamed in one step. So the weights are first given a name that no JSON knows, and the one rename that counts
 * puts in a JSON that names them; only then do the weights take their usual name, for a moment under both, until a second JSON that
 * says so takes over. A crash in between leaves at most a spare file. The renames run synchronously, so that two saves which
 * overlap in one process cannot mix.
 */
async function write(json: string, bytes: Uint8Array, text: (weightsFile: string) => string): Promise<void> {
  const folder = dirname(json);
  const final = weightsFileFor(json);
  const interim = `${final}.${randomUUID()}`;
  const weights = join(folder, interim);
  const [link, firstJSON, lastJSON] = [`${weights}.link`, `${weights}.1.json`, `${weights}.2.json`];
  let interimIsNamed = false;
  try {
    const [first, last] = [text(interim), text(final)];
    await mkdir(folder, {recursive: true});
    await writeThrough(weights, bytes);
    await writeThrough(firstJSON, first);
    await writeThrough(lastJSON, last);
    renameSync(firstJSON, json);
    interimIsNamed = true;
    linkOrCopy(weights, link);
    renameSync(link, join(folder, final));
    renameSync(lastJSON, json);
    interimIsNamed = false;
  } catch (error) {
    // Once the first JSON is in place the save has succeeded, if under an unusual name for the weights.
    if (!interimIsNamed) {
      throw new LoRAError(`Cannot save ${json}: ${(error as Error).message}`, {cause: error});
    }
  } finally {
    const spare = [link, firstJSON, lastJSON, ...(interimIsNamed ? [] : [weights])];
    // Settled, since the error that led here is the one to be told.
    await Promise.allSettled(spare.map(file => rm(file, {force: true})));
  }
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    // Some file systems, FAT for one, have no links.
    copyFileSync(from, to);
  }
}
