/**
 * Compares what can train to tell five kinds of drawings: a new head alone, LoRA in the last blocks, and these blocks in
 * full, with three seeds.
 *
 *     npm run study -- vision
 *     npm run study -- vision --quick           one seed, half the epochs, fewer test drawings
 *     npm run study -- vision --model FOLDER    another image encoder of the hub, in a folder
 *
 * Two processes train in parallel.
 */
import {mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, disposeModel, saveAdapter, trainableVariables} from 'tfjs-lora';
import {inProcesses} from '../shared/processes';
import {kilobytes, overSeeds, percent, shareRight, SHORT, table} from '../shared/report';
import {compareIn} from './anyModel';
import {choose, KINDS} from './data';
import {baseFiles} from './files';
import {labelsAt, pixelsOf} from './images';
import {configOf, guesses, learn, learnHead, nearestClasses, openBase, rowsOf, see, SETTINGS, type Way} from './learn';

const OUTPUT = fileURLToPath(new URL('output/study/', import.meta.url));
const quick = process.argv.includes('--quick');
const SEEDS = quick ? [1] : [1, 2, 3];
const COUNTS = {train: 10, test: quick ? 4 : 12};
/** What each of two processes trains. */
const PARTS: Record<string, Way[]> = {small: ['probe', 'lora'], full: ['full']};
const LABELS: Record<Way, string> = {
  probe: 'a new head alone',
  lora: 'LoRA in the last blocks',
  full: 'the last blocks in full',
};
const at = process.argv.indexOf('--model');
if (at >= 0) {
  await compareIn(process.argv[at + 1] ?? '', SEEDS, COUNTS);
  process.exit();
}
const files = await baseFiles();

const part = Object.keys(PARTS).find(name => process.argv.includes(name));
if (part === undefined) {
  await main();
} else {
  await tf.setBackend('wasm');
  tf.enableProdMode();
  process.send?.(await trained(PARTS[part]!));
}

async function main(): Promise<void> {
  const begin = Date.now();
  rmSync(OUTPUT, {recursive: true, force: true});
  mkdirSync(OUTPUT, {recursive: true});
  const parts = await inProcesses<string[][]>(import.meta.url, Object.keys(PARTS), quick ? ['--quick'] : []);
  const head = ['', 'accuracy', 'each seed', 'trainable', 'CPU, s', 'file, kB'];
  console.log(`\n${table([head, ...parts.flat()])}\n`);
  console.log(`${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT}`);
  if (quick) {
    console.log(SHORT);
  }
}

/** Trains in some ways for each seed. A seed also chooses the drawings. */
async function trained(ways: readonly Way[]): Promise<string[][]> {
  const base = await openBase(files, KINDS.length);
  const choices = SEEDS.map(seed => ({seed, ...choose(COUNTS, seed)}));
  // The layers before the first one that trains run once for each drawing.
  const used = [...new Set(choices.flatMap(({train, test}) => [...train, ...test]))];
  const pixels = await pixelsOf(files, base, used);
  const all = await see(base, pixels);
  pixels.dispose();
  const seenOf = (drawings: readonly number[]) =>
    rowsOf(
      all,
      drawings.map(i => used.indexOf(i)),
    );
  const runs = choices.map(({seed, train, test}) => {
    return {seed, own: seenOf(train), held: seenOf(test), labels: labelsAt(train), truth: labelsAt(test)};
  });
  tf.dispose(all);
  const rows: string[][] = [];
  if (ways.includes('probe')) {
    const right = runs.map(({own, held, labels, truth}) => shareRight(nearestClasses(own, labels, held), truth));
    rows.push(['no training: nearest mean', ...overSeeds(right), '–', '–', '–']);
  }
  for (const way of ways) {
    const right: number[] = [];
    let [seconds, trains, size] = [0, 0, ''];
    for (const {seed, own, held, labels, truth} of runs) {
      const model = applyLoRA(base, configOf(base, way, seed));
      const begin = process.cpuUsage();
      if (way !== 'probe') {
        await learnHead(base, model, own, labels, seed);
      }
      const {rate, epochs} = SETTINGS[way];
      await learn(model, own, labels, {rate, epochs: quick ? epochs / 2 : epochs, seed});
      const {user, system} = process.cpuUsage(begin);
      seconds += (user + system) / 1e6 / SEEDS.length;
      const guessed = guesses(model, held).map(({label}) => label);
      right.push(shareRight(guessed, truth));
      console.log(`${LABELS[way]}, seed ${seed}: ${percent(right.at(-1)!)}`);
      if (seed === SEEDS.at(-1)) {
        trains = trainableVariables(model).reduce((sum, variable) => sum + variable.size, 0);
        await saveAdapter(model, `file://${join(OUTPUT, `${way}.safetensors`)}`);
        size = kilobytes(join(OUTPUT, `${way}.`));
      }
      disposeModel(model);
    }
    rows.push([LABELS[way], ...overSeeds(right), trains.toLocaleString('en'), seconds.toFixed(0), size]);
  }
  return rows;
}
