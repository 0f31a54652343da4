import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fileHandler, loadAdapter, saveAdapter} from 'tfjs-lora';
import {type Case, difference, largestDifference, predicts} from './case';
import {adapt, fit, images, makeBase} from './modelCases';

/** What holds where tfjs-node has brought its own handler for `file://`. */
export const fileCases: readonly Case[] = [
  {behaviour: "files match those of tfjs-node's handler except for a digest", tolerance: 0, run: sameFiles},
  {behaviour: 'each handler loads the files of the other bit for bit', tolerance: 0, run: loadEachOther},
  {
    behaviour: 'an adapter gives the same files by URL, path and tfjs-node handler',
    tolerance: 0,
    run: samePlaces,
  },
];

/** Runs `f` with two folders: one for tfjs-node's handler, as a URL, and one for that of this library. */
async function inFolders(f: (theirs: string, ours: string) => Promise<number>): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-'));
  try {
    return await f(join(folder, 'theirs'), join(folder, 'ours'));
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

/** A plain model, an adapted one, and that with its optimizer. */
async function makeModels(): Promise<tf.LayersModel[]> {
  const base = makeBase();
  const trained = adapt(base);
  await fit(trained, undefined, 1);
  return [base, adapt(base), trained];
}

async function sameFiles(): Promise<number> {
  const models = await makeModels();
  const compare = (theirs: string, ours: string) => {
    const json = (folder: string): unknown =>
      JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'), (key, value: unknown) =>
        key === 'sha256' ? undefined : value,
      );
    if (!isDeepStrictEqual(json(ours), json(theirs))) {
      throw new Error('The JSON says something else.');
    }
    const bytes = (folder: string) => Array.from(readFileSync(join(folder, 'weights.bin')));
    return difference(bytes(ours), bytes(theirs));
  };
  return inFolders(async (theirs, ours) => {
    const differences: number[] = [];
    for (const model of models) {
      const options = {includeOptimizer: model === models.at(-1)};
      await model.save(`file://${theirs}`, options);
      await model.save(fileHandler(ours), options);
      differences.push(compare(theirs, ours));
    }
    return Math.max(...differences);
  });
}

async function loadEachOther(): Promise<number> {
  const [base, , trained] = (await makeModels()) as [tf.LayersModel, tf.LayersModel, tf.LayersModel];
  const x = images(2);
  return inFolders(async (theirs, ours) => {
    await trained.save(`file://${theirs}`);
    await trained.save(fileHandler(ours));
    const models = [
      await tf.loadLayersModel(`file://${ours}/model.json`),
      await tf.loadLayersModel(fileHandler(theirs)),
    ];
    await saveAdapter(trained, `file://${theirs}`);
    await saveAdapter(trained, fileHandler(ours));
    models.push(
      applyLoRA(base, await loadAdapter(`file://${ours}/model.json`)),
      applyLoRA(base, await loadAdapter(fileHandler(theirs))),
    );
    const expected = await predicts(trained, x);
    const actual = await Promise.all(models.map(model => predicts(model, x)));
    return largestDifference(
      actual,
      models.map(() => expected),
    );
  });
}

/** Names and numbers of an adapter, saved in several ways to folders that are not there yet. */
async function samePlaces(): Promise<number> {
  const [, , trained] = (await makeModels()) as [tf.LayersModel, tf.LayersModel, tf.LayersModel];
  return inFolders(async folder => {
    const found: string[] = [];
    const contents: Buffer[] = [];
    const ways: ((path: string) => tf.io.IOHandler | string)[] = [
      path => `file://${path}`,
      path => fileHandler(path),
      path => tf.io.getSaveHandlers(`file://${path}`)[0]!,
    ];
    for (const [i, way] of ways.entries()) {
      const root = join(folder, String(i));
      for (const name of ['new/deep/emoji.safetensors', 'new/deep/emoji.json', 'new/folder']) {
        await saveAdapter(trained, way(join(root, name)));
        (await loadAdapter(way(join(root, name)))).dispose();
      }
      const names = readdirSync(root, {recursive: true, encoding: 'utf8'}).sort();
      found.push(names.join(' '));
      contents.push(readFileSync(join(root, 'new/deep/emoji.safetensors')));
    }
    const expected =
      'new new/deep new/deep/emoji.json new/deep/emoji.safetensors new/deep/emoji.weights.bin new/folder ' +
      'new/folder/model.json new/folder/weights.bin';
    const wrong = found.find(names => names !== expected);
    if (wrong !== undefined) {
      throw new Error(`There are ${wrong}.`);
    }
    return Math.max(...contents.map(bytes => difference(Array.from(bytes), Array.from(contents[0]!))));
  });
}
