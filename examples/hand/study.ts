/**
 * Compares what can train to find the landmarks of gloved hands: the last layer, LoRA, and every weight after the cut,
 * with three seeds.
 *
 *     npm run study -- hand
 *     npm run study -- hand --quick         one seed, fewer test frames, no speed
 *     npm run study -- hand --camouflage    a glove of the colors of its background, no speed
 *
 * Two processes train. Then one process measures frames per second.
 */
import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, fileHandler, trainableVariables} from 'tfjs-lora';
import {inProcesses} from '../shared/processes';
import {kilobytes, mean, percent, SHORT, table} from '../shared/report';
import {writeTuned} from '../shared/writeTuned';
import {drawFrames, drawGrounds, together} from './data';
import {handModel, modelFolder} from './files';
import {
  errorOf,
  errorOfGuesses,
  featuresOf,
  featuresOfCopies,
  guessesInGraph,
  guessesOf,
  learn,
  type Method,
  openHand,
  seenIn,
} from './learn';
import type {LookName} from './looks';
import {framesPerSecond} from './speed';

const OUTPUT_FOLDER = fileURLToPath(new URL('output/study/', import.meta.url));
const quick = process.argv.includes('--quick');
const LOOK: LookName = process.argv.includes('--camouflage') ? 'camouflage' : 'glove';
const SEEDS = quick ? [1] : [1, 2, 3];
const HELD_OUT = quick ? 40 : 200;
const GROUNDS_HELD_OUT = quick ? 10 : 40;
const FRAMES = 30;
/** Frames without a hand, in addition. */
const GROUNDS = 4;
const COPIES = 2;
const EPOCHS: Record<Method, number> = quick ? {probe: 10, lora: 2, full: 2} : {probe: 20, lora: 5, full: 5};
/** What each of two processes trains. Full fine-tuning takes as long as the others together. */
const PARTS: Record<string, Method[]> = {small: ['probe', 'lora'], full: ['full']};
const LABELS: Record<Method, string> = {probe: 'last layer', lora: 'LoRA', full: 'every weight after the cut'};

const part = Object.keys(PARTS).find(name => process.argv.includes(name));
if (part === undefined) {
  await main();
} else {
  await tf.setBackend('wasm');
  process.send?.(await trained(PARTS[part]!));
}

async function main(): Promise<void> {
  modelFolder();
  rmSync(OUTPUT_FOLDER, {recursive: true, force: true});
  const begin = Date.now();
  const parts = await inProcesses<string[][]>(import.meta.url, Object.keys(PARTS), process.argv.slice(2));
  const head = [
    '',
    'error',
    'each seed',
    'finds gloved hands',
    'finds one in nothing',
    'trainable',
    'seconds',
    'file, kB',
  ];
  console.log(`\n${table([head, ...parts.flat()])}\n`);
  console.log('Error: mean distance from the true landmarks, relative to the diagonal of the hand.\n');
  if (!quick && LOOK === 'glove') {
    await measureSpeed();
  }
  console.log(`${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT_FOLDER}`);
  if (quick) {
    console.log(SHORT);
  }
}

/** Frames per second vary too much to be measured in a short run. */
async function measureSpeed(): Promise<void> {
  await tf.setBackend('wasm');
  const speeds = await framesPerSecond(handModel(), {
    adapter: fileHandler(place('adapter.safetensors')),
    graph: fileHandler(place('graph')),
    rounds: 30,
  });
  const rows = speeds.map(({name, perSecond, share}) => [name, perSecond.toFixed(1), share.toFixed(2)]);
  console.log(`${table([['', 'frames per second', 'relative to the imported base'], ...rows])}\n`);
}

/** Trains with some methods for each seed. */
async function trained(methods: readonly Method[]): Promise<string[][]> {
  const graph = await tf.loadGraphModel(handModel());
  const hand = await openHand(graph);
  const frames = together(drawFrames(FRAMES, LOOK, 1), drawGrounds(GROUNDS, LOOK, 5));
  const test = drawFrames(HELD_OUT, LOOK, 2);
  const grounds = drawGrounds(GROUNDS_HELD_OUT, LOOK, 4);
  const [testFeatures, groundFeatures] = [featuresOf(hand, test), featuresOf(hand, grounds)];
  const seen = (model: tf.LayersModel) =>
    [testFeatures, groundFeatures].map(({xs}) => tf.tidy(() => shareSeen(guessesOf(model, xs).presence)));
  const rows: string[][] = [];
  if (methods.includes('probe')) {
    const bare = drawFrames(HELD_OUT, 'bare', 3);
    rows.push([
      'base model, bare hands',
      percent(errorOf(hand.body, featuresOf(hand, bare))),
      '',
      '–',
      '–',
      '–',
      '–',
      '–',
    ]);
    rows.push(['base model, gloves', percent(errorOf(hand.body, testFeatures)), '', ...seen(hand.body), '–', '–', '–']);
  }
  for (const method of methods) {
    const errors: number[] = [];
    let seconds = 0;
    let model: tf.LayersModel | undefined;
    for (const seed of SEEDS) {
      const begin = Date.now();
      const features = (await featuresOfCopies(hand, frames, COPIES, seed))!;
      if (model !== undefined) {
        disposeModel(model);
      }
      model = await learn(hand.body, features, {method, epochs: EPOCHS[method], seed});
      seconds += (Date.now() - begin) / 1000 / SEEDS.length;
      errors.push(errorOf(model, testFeatures));
      console.log(`${LABELS[method]}, seed ${seed}: ${percent(errors.at(-1)!)}`);
      tf.dispose([features.xs, features.ys]);
    }
    const count = trainableVariables(model!).reduce((sum, {size}) => sum + size, 0);
    const cells = [
      percent(mean(errors)),
      errors.map(percent).join(' '),
      ...seen(model!),
      count.toLocaleString('en'),
      seconds.toFixed(0),
    ];
    rows.push([LABELS[method], ...cells, '–']);
    if (method === 'lora') {
      const files = {adapter: fileHandler(place('adapter.safetensors')), graph: fileHandler(place('graph'))};
      const tuned = await writeTuned(graph, model!, files);
      rows.at(-1)![7] = kilobytes(place('adapter.'));
      const [ofGloves, ofGrounds] = [guessesInGraph(tuned, test.xs), guessesInGraph(tuned, grounds.xs)];
      const again = percent(errorOfGuesses(ofGloves.landmarks, test.ys));
      const shares = [ofGloves, ofGrounds].map(({presence}) => shareSeen(presence));
      rows.push(['LoRA in the graph, loaded again', '', again, ...shares, '–', '–', kilobytes(place('graph/'))]);
    }
  }
  return rows;
}

function place(file: string): string {
  return join(OUTPUT_FOLDER, file);
}

/** The share of frames in which a hand is found. */
function shareSeen(presence: tf.Tensor): string {
  return percent(seenIn(presence) / presence.shape[0]);
}
