/**
 * A small network for words learns six others from ten clips of each, spoken by generated voices: with a new head
 * alone, with LoRA, and in full. Other voices test it.
 *
 *     npm run example -- sounds
 *     npm run example -- sounds --quick    one seed, fewer copies, a shorter room
 */
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, fileHandler, saveAdapter, saveMerged, trainableVariables} from 'tfjs-lora';
import {compareEvents, type Sound} from 'tfjs-lora/sound';
import {kilobytes, mean, overSeeds, percent, SHORT, table} from '../shared/report';
import {noise, RATE, second, seconds} from './clips';
import {adapt, type Clips, classify, detectIn, learn, scoresIn, SETTINGS, thresholdFor, type Way} from './learn';
import {CLASSES, room, say, type Speakers, WORDS} from './voices';

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const quick = process.argv.includes('--quick');
const SEEDS = quick ? [1] : [1, 2, 3];
/** Augmented copies of each clip; minutes of the room in which other words are said. */
const [COPIES, MINUTES] = quick ? [3, 2] : [5, 10];
const CLIPS = {train: 10, test: quick ? 8 : 15};
const LABELS: Record<Way, string> = {head: 'a new head alone', lora: 'LoRA', full: 'all weights'};
const FIRST = {train: 0, test: 100_000};

await tf.setBackend('wasm');
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});

// 1. The base, and the clips. A seed chooses the voices of those that are learned.
const base = await tf.loadLayersModel(fileHandler(fileURLToPath(new URL('public/base', import.meta.url))));
const test = clipsOf('test', 1);
const sentences = WORDS.map((word, i) => ({label: word, sound: second(say(word, 'test', 5000 + i))}));
const quiet = room(MINUTES, 'test', 3);
const check = room(2, 'train', 77);
const [stream, known] = withWords(room(1, 'test', 4), sentences);
const rooms = Array.from({length: 8}, (_, i) => noise(3, 2000 + i));

// 2. Train each way for each seed.
const rows: string[][] = [];
for (const way of Object.keys(LABELS) as Way[]) {
  const [right, alarms, recalls]: [number[], number[], number[]] = [[], [], []];
  let [seconds, trains] = [0, 0];
  for (const seed of SEEDS) {
    const model = adapt(base, CLASSES.length, way, seed);
    const begin = process.cpuUsage();
    await learn(model, clipsOf('train', seed), {...SETTINGS[way], copies: COPIES, noise: rooms, seed});
    const {user, system} = process.cpuUsage(begin);
    seconds += (user + system) / 1e6 / SEEDS.length;
    const guessed = classify(model, test.clips);
    right.push(guessed.filter((label, i) => label === test.labels[i]).length / guessed.length);
    const threshold = thresholdFor(scoresIn(model, check), CLASSES);
    const found = (sound: Sound) => detectIn(scoresIn(model, sound), CLASSES, threshold);
    alarms.push((found(quiet).length * 60) / MINUTES);
    recalls.push(compareEvents(found(stream), known, {tolerance: 1}).recall);
    console.log(`${LABELS[way]}, seed ${seed}: ${percent(right.at(-1)!)}`);
    trains = trainableVariables(model).reduce((sum, variable) => sum + variable.size, 0);
    if (seed === SEEDS.at(-1)) {
      await saveAdapter(model, `file://${join(OUTPUT, `${way}.safetensors`)}`);
      if (way === 'lora') {
        await saveMerged(model, fileHandler(join(OUTPUT, 'merged')));
      }
    }
    disposeModel(model);
  }
  rows.push([
    LABELS[way],
    ...overSeeds(right),
    mean(recalls).toFixed(2),
    mean(alarms).toFixed(0),
    trains.toLocaleString('en'),
    seconds.toFixed(0),
    kilobytes(join(OUTPUT, `${way}.`)),
  ]);
}
const head = ['', 'accuracy', 'each seed', 'detected', 'false alarms/h', 'trainable', 'CPU, s', 'file, kB'];
console.log(`\n${table([head, ...rows])}\n\nThe files are in ${OUTPUT}`);
if (quick) {
  console.log(SHORT);
}

/** Clips of each word, and a minute of a room in which other words are said. */
function clipsOf(speakers: Exclude<Speakers, 'base'>, seed: number): Clips {
  const first = FIRST[speakers] + 1000 * seed;
  const words = WORDS.flatMap((word, label) =>
    Array.from({length: CLIPS[speakers]}, (_, i) => {
      return {label, clip: second(say(word, speakers, first + 50 * label + i))};
    }),
  );
  const others = seconds(room(1, speakers, first)).map(clip => ({label: WORDS.length, clip}));
  const all = [...words, ...others];
  return {clips: all.map(({clip}) => clip), labels: all.map(({label}) => label)};
}

/** A room in which words are said, each where no other word is likely to be, and when. */
function withWords(
  {samples, sampleRate}: Sound,
  words: readonly {label: string; sound: Sound}[],
): [Sound, {label: string; time: number}[]] {
  const every = Math.floor(samples.length / words.length);
  const known = words.map(({label, sound}, i) => {
    const at = i * every + Math.floor(every / 4);
    sound.samples.forEach((value, j) => (samples[at + j] = 0.1 * samples[at + j]! + 0.6 * value)); // in place of others
    return {label, time: at / RATE};
  });
  return [{samples, sampleRate}, known];
}
