/**
 * Compares what can train to know six words from ten clips of each: a new head alone, LoRA, and all layers, with three
 * seeds: on clips of other voices, and in minutes of noise, of talk, and of a room in which the words are said.
 *
 *     npm run study -- sounds
 *     npm run study -- sounds --seed 2   one seed
 *     npm run study -- sounds --quick    one seed, fewer copies, a shorter room
 */
import {mkdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {disposeModel, saveAdapter, trainableVariables} from 'tfjs-lora';
import {scoreEvents, type SoundEvent} from 'tfjs-lora/sound';
import {loadWordBase} from 'tfjs-lora/words';
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
import {clipsOf} from './spoken';
import {type Minute, type Streams, streamsOf} from './streams';
import {CLASSES} from './voices';

const OUTPUT = fileURLToPath(new URL('output/study/', import.meta.url));
const quick = process.argv.includes('--quick');
const one = process.argv.indexOf('--seed') + 1;
const SEEDS = one > 0 ? [Number(process.argv[one])] : quick ? [1] : [1, 2, 3];
/** Augmented copies of each clip. */
const COPIES = quick ? 3 : 5;
/** Minutes of noise, of a room with other words, and of one with six of the words a minute. */
const MINUTES = quick ? {noisy: 2, talking: 4, spoken: 2} : {noisy: 5, talking: 15, spoken: 10};
/** False alarms an hour among other words, for which the share of detected words is printed. */
const ALARMS = [4, 20, 100];
/** Odds of the thresholds among which the one for that is found: a power of ten, and half of the next one. */
const ODDS = Array.from({length: 12}, (_, i) => 10 ** Math.floor(i / 2) * (i % 2 === 0 ? 1 : 5));
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
const {noisy, talking, spoken} = await streamsOf('test', MINUTES);

// 2. Train each way for each seed, which chooses the voices of the clips that are learned.
const results = new Map<
  Way,
  {right: number[]; events: Events[][]; curve: number[][]; seconds: number; trains: number}
>();
for (const seed of SEEDS) {
  const train = await clipsOf('train', CLIPS.train, seed);
  for (const way of Object.keys(LABELS) as Way[]) {
    const result = results.get(way) ?? {right: [], events: [], curve: [], seconds: 0, trains: 0};
    results.set(way, result);
    const model = adapt(base, CLASSES.length, way, seed);
    const begin = process.cpuUsage();
    await learn(model, train, {way, ...SETTINGS[way], talk, copies: COPIES, noise: noises, seed});
    const {user, system} = process.cpuUsage(begin);
    result.seconds += (user + system) / 1e6 / SEEDS.length;
    result.right.push(shareRight(classify(model, test.clips), test.labels));
    const chosen = chooseDetection(model, held, CLASSES, talk);
    const streams = scored(model);
    result.events.push([{threshold: 0.5, coolDown: 1}, chosen].map(detection => eventsOf(streams, detection)));
    result.curve.push(curveOf(streams));
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
const curves = [...results].map(([way, {curve}]) => [
  LABELS[way],
  ...ALARMS.map((_, i) => percent(mean(curve.map(each => each[i]!)))),
]);
const curveHead = ['', ...ALARMS.map(count => `${count} false alarms/h`)];
const tables = [table([head, ...rows]), table([eventHead, ...events]), table([curveHead, ...curves])];
console.log(`\n${tables.join('\n\n')}\n\nThe files are in ${OUTPUT}`);
if (quick) {
  console.log(SHORT);
}

/** How many of the words are detected, and false alarms an hour. */
interface Events {
  recall: number;
  inNoise: number;
  inTalk: number;
}

/** The scores of a model in each minute, and the words that are said in it. */
type Scored = Record<keyof Streams, {scores: number[][]; known: SoundEvent[]}[]>;

function scored(model: tf.LayersModel): Scored {
  const all = (minutes: readonly Minute[]) =>
    minutes.map(({frames, known}) => ({scores: scoresIn(model, frames), known}));
  return {noisy: all(noisy), talking: all(talking), spoken: all(spoken)};
}

/** What is detected with a threshold and a cool-down. */
function eventsOf(streams: Scored, detection: Detection): Events {
  const found = (scores: number[][]) => detectIn(scores, CLASSES, detection);
  const alarms = (kind: 'noisy' | 'talking') => 60 * mean(streams[kind].map(({scores}) => found(scores).length));
  const recalls = streams.spoken.map(({known, scores}) => scoreEvents(found(scores), known, {tolerance: 1}).recall);
  return {recall: mean(recalls), inNoise: alarms('noisy'), inTalk: alarms('talking')};
}

/** How many words are detected with the lowest threshold that gives no more than so many false alarms. */
function curveOf(streams: Scored): number[] {
  const events = ODDS.map(odds => eventsOf(streams, {threshold: odds / (1 + odds), coolDown: 1}));
  return ALARMS.map(most => events.find(({inTalk}) => inTalk <= most)?.recall ?? 0);
}
