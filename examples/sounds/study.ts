/**
 * Compares what can train to know six words from ten clips of each: a new head alone, LoRA, and all layers, with three
 * seeds: on clips of other voices, and in minutes of noise, of talk, and of a room in which the words are said.
 *
 *     npm run study -- sounds
 *     npm run study -- sounds --quick    one seed, fewer copies, a shorter room
 */
import {mkdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, saveAdapter, trainableVariables} from 'tfjs-lora';
import {scoreEvents, type SoundEvent} from 'tfjs-lora/sound';
import {loadWordBase, wordFrames} from 'tfjs-lora/words';
import {kilobytes, mean, overSeeds, percent, shareRight, SHORT, table} from '../shared/report';
import {noise} from './clips';
import {
  adapt,
  chooseDetection,
  classify,
  type Detection,
  detectIn,
  learn,
  scoresIn,
  SETTINGS,
  talkFrom,
  type Way,
} from './learn';
import {clipsOf, withWords} from './spoken';
import {CLASSES, room, say, severally, WORDS} from './voices';

const OUTPUT = fileURLToPath(new URL('output/study/', import.meta.url));
const quick = process.argv.includes('--quick');
const SEEDS = quick ? [1] : [1, 2, 3];
/** Augmented copies of each clip. */
const COPIES = quick ? 3 : 5;
/** Minutes of noise, of a room with other words, and of one with six of the words a minute. */
const [NOISE, TALK, SPOKEN] = quick ? [2, 4, 2] : [5, 15, 10];
const CLIPS = {train: 10, held: 5, test: quick ? 8 : 15};
const LABELS: Record<Way, string> = {head: 'a new head alone', lora: 'LoRA', full: 'all layers'};

await tf.setBackend('wasm');
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});

// 1. The base, and the clips. The threshold is chosen with voices that are neither trained on nor tested.
const {model: base} = await loadWordBase();
const [held, test] = [await clipsOf('held', CLIPS.held, 1), await clipsOf('test', CLIPS.test, 1)];
const talk = talkFrom(readFileSync(new URL('public/clips/talk.bin', import.meta.url)));
const noises = Array.from({length: 8}, (_, i) => noise(3, 2000 + i));
const [noisy, talking, spoken]: [tf.Tensor2D[], tf.Tensor2D[], {frames: tf.Tensor2D; known: SoundEvent[]}[]] = [
  [],
  [],
  [],
];
for (let minute = 0; minute < NOISE; minute++) {
  noisy.push(wordFrames(noise(60, 30_000 + 3 * minute)));
}
for (let minute = 0; minute < TALK; minute++) {
  talking.push(wordFrames(await room(1, 'test', 10_000 + minute)));
}
for (let minute = 0; minute < SPOKEN; minute++) {
  const sounds = await severally(WORDS, (word, i) => say(word, 'test', 5000 + 10 * minute + i));
  const {sound, known} = withWords(await room(1, 'test', 20_000 + minute), sounds);
  spoken.push({frames: wordFrames(sound), known});
}

// 2. Train each way for each seed, which chooses the voices of the clips that are learned.
const results = new Map<Way, {right: number[]; events: Events[][]; seconds: number; trains: number}>();
for (const seed of SEEDS) {
  const train = await clipsOf('train', CLIPS.train, seed);
  for (const way of Object.keys(LABELS) as Way[]) {
    const result = results.get(way) ?? {right: [], events: [], seconds: 0, trains: 0};
    results.set(way, result);
    const model = adapt(base, CLASSES.length, way, seed);
    const begin = process.cpuUsage();
    await learn(model, train, {way, ...SETTINGS[way], talk, copies: COPIES, noise: noises, seed});
    const {user, system} = process.cpuUsage(begin);
    result.seconds += (user + system) / 1e6 / SEEDS.length;
    result.right.push(shareRight(classify(model, test.clips), test.labels));
    const chosen = chooseDetection(model, held, CLASSES, talk);
    result.events.push(eventsOf(model, [{threshold: 0.5, coolDown: 1}, chosen]));
    console.log(`${LABELS[way]}, seed ${seed}: ${percent(result.right.at(-1)!)}, threshold ${chosen.threshold}`);
    result.trains = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
    if (seed === SEEDS.at(-1)) {
      await saveAdapter(model, `file://${join(OUTPUT, `${way}.safetensors`)}`);
    }
    disposeModel(model);
  }
}
const rows = [...results].map(([way, {right, seconds, trains}]) => [
  LABELS[way],
  ...overSeeds(right),
  trains.toLocaleString('en'),
  seconds.toFixed(0),
  kilobytes(join(OUTPUT, `${way}.`)),
]);
const head = ['', 'accuracy', 'each seed', 'trainable', 'CPU, s', 'file, kB'];
const events = [...results].flatMap(([way, {events: each}]) =>
  ['0.5', 'chosen'].map((threshold, i) => {
    const average = (name: keyof Events) => mean(each.map(found => found[i]![name]));
    const [recall, ...alarms] = [average('recall'), average('inNoise'), average('inTalk')] as const;
    return [`${LABELS[way]}, threshold ${threshold}`, percent(recall), ...alarms.map(count => count.toFixed(0))];
  }),
);
const eventHead = ['', 'detected', 'false alarms/h in noise', 'among other words'];
console.log(`\n${table([head, ...rows])}\n\n${table([eventHead, ...events])}\n\nThe files are in ${OUTPUT}`);
if (quick) {
  console.log(SHORT);
}

/** How many of the words are detected, and false alarms an hour. */
interface Events {
  recall: number;
  inNoise: number;
  inTalk: number;
}

/** What is detected with each of several settings. */
function eventsOf(model: tf.LayersModel, settings: readonly Detection[]): Events[] {
  const [inNoise, inTalk] = [noisy, talking].map(parts => parts.map(frames => scoresIn(model, frames)));
  const withThem = spoken.map(({frames, known}) => ({known, scores: scoresIn(model, frames)}));
  return settings.map(detection => {
    const found = (scores: number[][]) => detectIn(scores, CLASSES, detection);
    const alarms = (parts: number[][][]) => 60 * mean(parts.map(scores => found(scores).length));
    const recalls = withThem.map(({known, scores}) => scoreEvents(found(scores), known, {tolerance: 1}).recall);
    return {recall: mean(recalls), inNoise: alarms(inNoise!), inTalk: alarms(inTalk!)};
  });
}
