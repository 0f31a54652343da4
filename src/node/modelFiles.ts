import {createHash} from 'node:crypto';
import {copyFileSync, linkSync, renameSync, rmSync} from 'node:fs';
import {mkdir} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {damagedError, ioError, isRecord, messageOf, prefixed, unsupportedError} from '../platform/errors';
import {concatenate} from '../platform/formats/byteReader';
import {formatError} from '../platform/formats/explained';
import {otherFormat} from '../platform/formats/otherFormats';
import {bytesOfSpecs, isSpec, joinedWeights, measureSpecs} from '../core/storage/weightBytes';
import {draftOf, findSpares, newTag, removeAll} from './drafts';
import {read, writeThrough} from './files';
import {locked} from './lock';
import {damaged, readShards} from './shards';

/** Weights of a manifest, with the SHA-256 of their bytes if this library wrote it; tfjs ignores that. */
type Group = tf.io.WeightsManifestConfig[number] & {sha256?: string};

/** So many saves may come between a reader's two files before it gives up. */
const ATTEMPTS = 100;

/**
 * Reads the JSON of a model or adapter, and the weights that it names.
 *
 * @throws LoRAError if a file is missing or damaged, or the two do not belong together.
 */
export async function loadModelFiles(json: string): Promise<tf.io.ModelArtifacts> {
  for (let attempt = 1; ; attempt++) {
    const text = await readText(json);
    try {
      return await loadWith(json, text);
    } catch (error) {
      // If another process has replaced the files in the meantime, the JSON is another one by now.
      if (attempt === ATTEMPTS || text.equals(await readText(json))) {
        throw error;
      }
    }
  }
}

function readText(json: string): Promise<Buffer> {
  return read(json, 'Check the path; it must be a saved model or adapter.');
}

async function loadWith(json: string, text: Buffer): Promise<tf.io.ModelArtifacts> {
  const model = parse(json, text);
  const manifest: unknown = model.weightsManifest;
  if (manifest === undefined) {
    return tf.io.getModelArtifactsForJSONSync(model);
  }
  if (!isManifest(manifest)) {
    throw damagedError(
      `${json} is damaged: its "weightsManifest" is not a list of {paths, weights} with a name, shape and dtype ` +
        'for each weight.',
    );
  }
  const groups = await readShards(
    json,
    manifest.map(({paths, weights}) => ({paths, size: bytesOfSpecs(weights)})),
  );
  for (const [i, {paths, weights, sha256}] of manifest.entries()) {
    const bytes = groups[i] ?? new Uint8Array();
    const expected = measureSpecs(weights, bytes);
    if (bytes.byteLength !== expected) {
      throw damaged(json, paths, `should have ${expected} bytes but has ${bytes.byteLength}`);
    }
    if (sha256 !== undefined && sha256 !== digestOf(bytes)) {
      throw damaged(json, paths, `does not hold what was saved together with ${basename(json)}`);
    }
  }
  const specs = manifest.flatMap(({weights}) => weights);
  return tf.io.getModelArtifactsForJSONSync(model, specs, concatenate(groups).buffer);
}

function parse(json: string, text: Buffer): tf.io.ModelJSON {
  let model: unknown;
  try {
    model = JSON.parse(text.toString('utf8'));
  } catch (error) {
    const other = otherFormat(text, 'a JSON file');
    throw other === undefined
      ? damagedError(`${json} is not valid JSON: ${(error as Error).message}`, {cause: error})
      : prefixed(`${json}: `, formatError(other));
  }
  if (!isRecord(model) || !isRecord(model.modelTopology)) {
    throw damagedError(
      `${json} has no "modelTopology": it is neither a TensorFlow.js model nor an adapter. (The tensorflowjs ` +
        'converter makes one from a Keras file.)',
    );
  }
  return model as unknown as tf.io.ModelJSON;
}

function isManifest(value: unknown): value is Group[] {
  return (
    Array.isArray(value) &&
    value.every(
      group =>
        isRecord(group) &&
        Array.isArray(group.paths) &&
        group.paths.every(path => typeof path === 'string') &&
        Array.isArray(group.weights) &&
        group.weights.every(isSpec) &&
        ['undefined', 'string'].includes(typeof group.sha256),
    )
  );
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Writes the JSON of a model or adapter, and its weights next to it.
 *
 * @throws LoRAError if they cannot be written. Then earlier files are as they were.
 */
export async function saveModelFiles(json: string, artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> {
  const {modelTopology, weightSpecs = [], weightData} = artifacts;
  if (!isRecord(modelTopology) || modelTopology instanceof ArrayBuffer) {
    throw unsupportedError(`Only a model or adapter with a JSON topology can be saved to ${json}.`);
  }
  const bytes = joinedWeights(weightData);
  const expected = measureSpecs(weightSpecs, bytes);
  if (bytes.byteLength !== expected) {
    throw damagedError(
      `The weights to be saved to ${json} have ${bytes.byteLength} bytes, but their specs add up to ${expected}.`,
    );
  }
  const sha256 = digestOf(bytes);
  await replace(json, bytes, weightsFile => {
    const group: Group = {paths: [weightsFile], weights: weightSpecs, sha256};
    return JSON.stringify(jsonFor(artifacts, [group]));
  });
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

/** tfjs's name for the weights of `model.json`, and for `name.json` one that keeps several apart in a folder. */
function weightsFileFor(json: string): string {
  const name = basename(json, '.json');
  return name === 'model' ? 'weights.bin' : `${name}.weights.bin`;
}

/**
 * Replaces weights and JSON so that at every instant the JSON on disk names its own complete weights.
 *
 * Two files cannot be renamed in one step. So the weights are first given a name that no JSON knows, and the one rename
 * that counts puts in a JSON that names them; only then do the weights take their usual name, for a moment under both,
 * until a second JSON that says so takes over. A crash in between leaves at most a spare file. A lock keeps the renames
 * of two saves from mixing.
 */
async function replace(json: string, bytes: Uint8Array, text: (weightsFile: string) => string): Promise<void> {
  const folder = dirname(json);
  const final = weightsFileFor(json);
  const weights = draftOf(join(folder, final), newTag());
  const [link, firstJSON, lastJSON] = [`${weights}.link`, `${weights}.1.json`, `${weights}.2.json`];
  let progress = 'drafts' as 'drafts' | 'replaced';
  try {
    const [first, last] = [text(basename(weights)), text(final)];
    await mkdir(folder, {recursive: true});
    await writeThrough(weights, bytes);
    await writeThrough(firstJSON, first);
    await writeThrough(lastJSON, last);
    await locked(join(folder, final), () => {
      renameSync(firstJSON, json);
      progress = 'replaced';
      linkOrCopy(weights, link);
      renameSync(link, join(folder, final));
      renameSync(lastJSON, json);
      rmSync(weights, {force: true});
    });
  } catch (error) {
    // Once the first JSON is in place the save has succeeded, if under an unusual name for the weights.
    unusual.add(weights);
    if (progress === 'drafts') {
      await removeAll([weights]);
      throw ioError(`Cannot save ${json}: ${messageOf(error)}`, {cause: error});
    }
  } finally {
    await removeAll([link, firstJSON, lastJSON]);
  }
  await removeSpares(json);
}

/** Weights of saves of this process that did not come to their usual name. */
const unusual = new Set<string>();

/** Removes what killed saves left, but not weights that the JSON may name already. */
async function removeSpares(json: string): Promise<void> {
  const target = join(dirname(json), weightsFileFor(json));
  const spares = [...(await findSpares(target)), ...[...unusual].filter(file => file.startsWith(`${target}.`))];
  if (spares.length > 0) {
    // Read after it was seen that their writers are gone: no JSON will name them from now on that does not yet.
    const text = (await readText(json)).toString('utf8');
    await removeAll(spares.filter(file => !text.includes(basename(file))));
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
