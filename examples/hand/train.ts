/**
 * A landmark model of hands learns a striped glove from 30 frames, by its last layer, by LoRA, and in full.
 *
 *     npm run example -- hand
 *     npm run example -- hand --quick    one seed, fewer frames held out
 *
 * Two processes train; then one alone measures how many frames a second each model looks at.
 */
import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, fileHandler, trainableVariables} from 'tfjs-lora';
import {inProcesses} from '../shared/processes';
import {kilobytes, SHORT, table} from '../shared/report';
import {writeTuned} from '../shared/writeTuned';
import {drawFrames, drawGrounds} from './data';
import {handModel, modelFolder} from './files';
import {
  errorOf,
  errorOfGuesses,
  featuresOf,
  featuresOfCopies,
  learn,
  type Method,
  openHand,
  OUTPUT,
  PRESENCE,
} from './learn';
import {framesPerSecond} from './speed';

const OUTPUT_FOLDER = fileURLToPath(new URL('output/', import.meta.url));
const quick = process.argv.includes('--quick');
const SEEDS = quick ? [1] : [1, 2, 3];
const HELD_OUT = quick ? 60 : 200;
const FRAMES = 30;
const COPIES = 3;
const EPOCHS: Record<Method, number> = quick ? {probe: 15, lora: 4, full: 4} : {probe: 30, lora: 8, full: 8};
/** What each of two processes trains: full training takes as long as the others together. */
const PARTS: Record<string, Method[]> = {small: ['probe', 'lora'], full: ['full']};
const LABELS: Record<Method, string> = {probe: 'its last layer', lora: 'LoRA', full: 'every weight behind the cut'};

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
  const parts = await inProcesses<string[][]>(import.meta.url, Object.keys(PARTS), quick ? ['--quick'] : []);
  const head = ['', 'error', 'each seed', 'trained', 'seconds', 'file, kB'];
  console.log(`\n${table([head, ...parts.flat()])}\n`);
  console.log('The error is the mean distance of a landmark from its place, as a share of the hand’s diagonal.\n');
  await tf.setBackend('wasm');
  const speeds = await framesPerSecond(handModel(), {
    adapter: fileHandler(place('adapter.safetensors')),
    graph: fileHandler(place('graph')),
    rounds: quick ? 20 : 60,
  });
  const rows = speeds.map(({name, perSecond, share}) => [name, perSecond.toFixed(1), share.toFixed(2)]);
  console.log(table([['', 'frames a second', 'of the imported base'], ...rows]));
  console.log(`\n${((Date.now() - begin) / 1000).toFixed(0)} s. The files are in ${OUTPUT_FOLDER}`);
  if (quick) {
    console.log(SHORT);
  }
}

/** Trains by some methods for each seed. */
async function trained(methods: readonly Method[]): Promise<string[][]> {
  const graph = await tf.loadGraphModel(handModel());
  const hand = await openHand(graph);
  const frames = drawFrames(FRAMES, 'glove', 1);
  const test = drawFrames(HELD_OUT, 'glove', 2);
  const testFeatures = featuresOf(hand, test);
  const rows: string[][] = [];
  if (methods.includes('probe')) {
    const bare = drawFrames(HELD_OUT, 'bare', 3);
    rows.push(['the base, bare hands', percent(errorOf(hand.body, featuresOf(hand, bare))), '', '–', '–', '–']);
    rows.push(['the base, gloves', percent(errorOf(hand.body, testFeatures)), '', '–', '–', '–']);
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
      count.toLocaleString('en'),
      seconds.toFixed(0),
    ];
    rows.push([LABELS[method], ...cells, '–']);
    if (method === 'lora') {
      const files = {adapter: fileHandler(place('adapter.safetensors')), graph: fileHandler(place('graph'))};
      const tuned = await writeTuned(graph, model!, files);
      rows.at(-1)![5] = kilobytes(place('adapter.'));
      const again = percent(errorOfGuesses(looked(tuned, test.xs, OUTPUT), test.ys));
      rows.push(['LoRA in the graph, loaded again', '', again, '–', '–', kilobytes(place('graph/'))]);
      const grounds = drawGrounds(HELD_OUT / 5, 'glove', 4);
      const say = (name: string, each: tf.GraphModel) =>
        console.log(`${name} sees a hand in ${seen(each, test.xs)} gloves, and in ${seen(each, grounds)} without one.`);
      say('The base', graph);
      say('The graph written back', tuned);
    }
  }
  return rows;
}

/** What an output of a graph says of pictures, one after the other, as its file takes them. */
function looked(graph: tf.GraphModel, pictures: tf.Tensor4D, output: string): tf.Tensor {
  return tf.tidy(() =>
    tf.concat(tf.split(pictures, pictures.shape[0]).map(picture => graph.execute(picture, output) as tf.Tensor)),
  );
}

/** In how many pictures a graph sees a hand. */
function seen(graph: tf.GraphModel, pictures: tf.Tensor4D): string {
  const count = tf.tidy(() => tf.sum(tf.greater(looked(graph, pictures, PRESENCE), 0.5)).dataSync()[0]!);
  return `${count} of ${pictures.shape[0]}`;
}

function place(file: string): string {
  return join(OUTPUT_FOLDER, file);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
