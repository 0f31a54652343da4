import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, fileHandler, loadAdapter, saveAdapter} from 'tfjs-lora';
import {type Case, difference, largestDifference, predicts} from './case';
import {adapt, fit, images, makeBase} from './modelCases';

/** What holds where tfjs-node has brought its own handler for `file://`. */
export const fileCases: readonly Case[] = [
  {behaviour: "files are those that tfjs-node's own handler writes, byte for byte", tolerance: 0, run: sameFiles},
  {behaviour: 'files of either handler load by the other, bit for bit', tolerance: 0, run: loadEachOther},
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
    const json = (folder: string): unknown => JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'));
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
    await saveAdapter(models[1]!, `file://${theirs}`);
    await saveAdapter(models[1]!, fileHandler(ours));
    return Math.max(...differences, compare(theirs, ours));
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
