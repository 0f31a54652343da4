/**
 * Compares what can train to tell the direction of handwriting: the last layer alone, LoRA, and all kernels, with three
 * seeds, and what ONNX Runtime computes from the file that LoRA was written into.
 *
 *     npm run study -- onnx
 *     npm run study -- onnx --quick       one seed, fewer lines
 *     npm run study -- onnx --mirrored    lines that are mirrored, instead of upside down
 *
 * Two processes train in parallel.
 */
import {mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {disposeModel, saveAdapter, startWasm} from 'tfjs-lora';
import {toONNX} from 'tfjs-lora/onnx';
import {inProcesses} from '../shared/processes';
import {kilobytes, overSeeds, percent, SHORT, table} from '../shared/report';
import {makeLines} from './data';
import {chancesInNode, folders, modelFile} from './files';
import {chancesOf, learn, openBase, parametersOf, SETTINGS, shareRight, type Way} from './learn';
import {mirrored, upsideDown} from './lines';

const OUTPUT = fileURLToPath(new URL('output/study/', import.meta.url));
const quick = process.argv.includes('--quick');
const turn = process.argv.includes('--mirrored') ? mirrored : upsideDown;
const SEEDS = quick ? [1] : [1, 2, 3];
const COUNTS = quick ? {train: 40, test: 50} : {train: 100, test: 150};
/** What each of two processes trains. */
const PARTS: Record<string, Way[]> = {small: ['head', 'lora'], full: ['full']};
const LABELS: Record<Way, string> = {head: 'last layer alone', lora: 'LoRA', full: 'full fine-tuning'};

const part = Object.keys(PARTS).find(name => process.argv.includes(name));
if (part === undefined) {
  await main();
} else {
  await startWasm({threads: 1});
  tf.enableProdMode();
  process.send?.(await trained(PARTS[part]!));
}

async function main(): Promise<void> {
  const begin = Date.now();
  folders();
  rmSync(join(OUTPUT, 'lora.safetensors'), {force: true});
  mkdirSync(OUTPUT, {recursive: true});
  console.log(
    `${COUNTS.train} lines to train on, ${COUNTS.test} others to test on, each upright and ${turn === mirrored ? 'mirrored' : 'upside down'}\n`,
  );
  const parts = await inProcesses<string[][]>(import.meta.url, Object.keys(PARTS), process.argv.slice(2));
  const head = ['', 'accuracy', 'each seed', 'trainable', 'CPU, s', 'file, kB'];
  console.log(`\n${table([head, ...parts.flat()])}\n`);
  console.log(`${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT}`);
  if (quick) {
    console.log(SHORT);
  }
}

/** Trains in some ways for each seed. A seed also chooses the lines. */
async function trained(ways: readonly Way[]): Promise<string[][]> {
  const file = modelFile();
  const base = await openBase(file);
  const runs = SEEDS.map(seed => {
    const {train, test} = makeLines(COUNTS, seed);
    const lines = test.flatMap(line => [line, turn(line)]);
    return {seed, train, lines, truth: lines.map((_, i) => i % 2 === 1)};
  });
  const rows: string[][] = [];
  if (ways.includes('head')) {
    const right: number[] = [];
    for (const {lines, truth} of runs) {
      right.push(shareRight(await chancesOf(base, lines), truth));
    }
    rows.push(['the published file', ...overSeeds(right), '–', '–', kilobytesOf(file)]);
  }
  for (const way of ways) {
    const [right, inRuntime]: number[][] = [[], []];
    let [seconds, trains, written] = [0, 0, ''];
    for (const {seed, train, lines, truth} of runs) {
      const begin = process.cpuUsage();
      const model = await learn(base, train, way, {epochs: SETTINGS[way].epochs, seed, turn});
      const {user, system} = process.cpuUsage(begin);
      seconds += (user + system) / 1e6 / SEEDS.length;
      const share = shareRight(await chancesOf(model, lines), truth);
      right!.push(share);
      console.log(`${LABELS[way]}, seed ${seed}: ${percent(share)}`);
      trains = parametersOf(model);
      const tuned = await toONNX(model, file);
      written = kilobytesOf(tuned);
      if (way === 'lora') {
        inRuntime!.push(shareRight(await chancesInNode(tuned, lines), truth));
        if (seed === SEEDS[0]) {
          await saveAdapter(model, `file://${join(OUTPUT, 'lora.safetensors')}`);
        }
      }
      disposeModel(model);
    }
    const cells = [trains.toLocaleString('en'), seconds.toFixed(0), written];
    rows.push([LABELS[way], ...overSeeds(right!), ...cells]);
    if (way === 'lora') {
      rows.push(['LoRA in the file, by ONNX Runtime', ...overSeeds(inRuntime!), '–', '–', written]);
      console.log(`The adapter alone is ${kilobytes(join(OUTPUT, 'lora.'))} kB.`);
    }
  }
  return rows;
}

function kilobytesOf(file: Uint8Array): string {
  return Math.round(file.length / 1000).toLocaleString('en');
}
