import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  disposeModel,
  fitOnFeatures,
  learningRateSchedule,
  type LoRAConfig,
  progress,
  replaceHead,
} from 'tfjs-lora';
import {
  augmentSounds,
  centerSound,
  makeDetector,
  resample,
  scoreEvents,
  type Sound,
  type SoundEvent,
} from 'tfjs-lora/sound';
import {encodeWords, wordFrames} from 'tfjs-lora/words';
import {mulberry32, shuffled} from '../shared/random';
import {RATE} from './clips';
import {FRAME_RATE, FRAMES, framesFrom, MELS} from './model';

/** What trains: a new head alone, LoRA in the layers before it too, or all of these layers. */
export type Way = 'head' | 'lora' | 'full';

/** Learning rates and epochs, chosen with voices that are not those of the test. */
export const SETTINGS: Record<Way, {rate: number; epochs: number}> = {
  head: {rate: 5e-3, epochs: 30},
  lora: {rate: 5e-3, epochs: 12},
  full: {rate: 1e-3, epochs: 12},
};

/** Labelled clips of one second. */
export interface Clips {
  clips: Sound[];
  labels: number[];
}

const BATCH = 32;
/** Seconds from one window of a stream to the next. */
export const HOP = 0.12;

/** A base with a new head, adapted for a way. The first layer, which has 160 weights, is left as it is. */
export function adapt(base: tf.LayersModel, classes: number, way: Way, seed: number): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotUniform({seed});
  const head = tf.layers.dense({units: classes, activation: 'softmax', name: 'classes', kernelInitializer});
  const model = replaceHead(base, [head], {after: 'embedding'});
  const none = [() => true];
  const config: Record<Way, LoRAConfig> = {
    head: {exclude: none, trainInFull: ['classes']},
    lora: {rank: 8, alpha: 16, seed, exclude: ['conv1', 'classes'], trainInFull: ['classes']},
    full: {exclude: none, trainInFull: [/^(?!conv1)/]},
  };
  const adapted = applyLoRA(model, config[way]);
  disposeModel(model);
  return adapted;
}

/** Frames of other words, most of which are learned as background; the others help to choose the threshold. */
export interface Talk {
  learned: tf.Tensor2D;
  held: tf.Tensor2D;
}

/** Reads the file of other words. */
export function talkFrom(bytes: Uint8Array): Talk {
  const most = 17_998 * MELS; // three minutes
  return {learned: framesFrom(bytes.subarray(0, most)), held: framesFrom(bytes.subarray(most))};
}

/** How a model learns. */
export interface Settings {
  way: Way;
  /** Other words. As many windows of them as there are copies are learned as background, which is the last class. */
  talk: Talk;
  rate: number;
  epochs: number;
  /** Augmented copies of each clip. */
  copies: number;
  /** What is added to them. */
  noise: Sound[];
  seed: number;
  /** Ends training after the present step. */
  signal?: AbortSignal;
  /** Called with the share that is done, from 0 to 1. With it, a page stays responsive. */
  onProgress?: (share: number) => void;
}

/**
 * Trains on clips and augmented copies of them. Their order depends on the seed alone. A new head learns first: the
 * layers before it would otherwise learn from what a random one says.
 */
export async function learn(
  model: tf.LayersModel,
  {clips, labels}: Clips,
  {way, talk, rate, epochs, copies, noise, seed, signal, onProgress}: Settings,
): Promise<void> {
  const [augment, augmentPlaced] = [0.2, 0].map(shift => augmentSounds({gain: 10, shift, noise, snr: [5, 25], seed}));
  const random = mulberry32(seed);
  const other = (): tf.Tensor2D =>
    tf.slice(talk.learned, [Math.floor(random() * (talk.learned.shape[0] - FRAMES)), 0], [FRAMES, MELS]);
  const background = model.outputs[0]!.shape[1]! - 1;
  const examples = Array.from({length: copies + 1}, (_, copy) =>
    clips.map((clip, i) => {
      const frames = (): tf.Tensor2D => {
        if (copy === 0 || labels[i] === background) {
          return wordFrames(copy === 0 ? clip : augment!(clip));
        }
        const voice = otherVoice(clip, random);
        return copy % 2 === 0 ? wordFrames(augment!(voice)) : among(wordFrames(augmentPlaced!(voice)), other(), random);
      };
      return {frames, label: labels[i]!};
    }),
  );
  const others = Array.from({length: copies * clips.length}, () => ({frames: other, label: background}));
  const order = shuffled([...examples.flat(), ...others], seed);
  const xs = tf.tidy(() => tf.expandDims<tf.Tensor4D>(tf.stack(order.map(({frames}) => frames())), 3));
  const ys = tf.tidy(() => tf.cast(tf.oneHot(order.map(({label}) => label), background + 1), 'float32')); // prettier-ignore
  model.compile({optimizer: adam({learningRate: rate}), loss: 'categoricalCrossentropy'});
  try {
    const steps = epochs * Math.ceil(order.length / BATCH);
    let done = 0;
    const callbacks = [
      learningRateSchedule({warmup: 0.1}),
      new tf.CustomCallback({onBatchEnd: () => onProgress?.(++done / steps)}),
      ...(signal ? [progress({signal, onProgress: () => undefined})] : []),
    ];
    const yieldEvery = onProgress === undefined ? 'never' : 'auto';
    const headFirst = way !== 'head';
    const options = {epochs, batchSize: BATCH, shuffle: false, verbose: 0, yieldEvery, callbacks, headFirst} as const;
    await fitOnFeatures(model, xs, ys, options);
  } finally {
    tf.dispose([xs, ys]);
  }
}

/** A clip as a longer or shorter vocal tract would say it: a tape that runs at another speed. */
function otherVoice({samples}: Sound, random: () => number): Sound {
  return centerSound(resample({samples, sampleRate: (RATE / 100) * (84 + 4 * Math.floor(9 * random()))}, RATE));
}

/** The frames of a word that is in the middle, moved, and between other words, which may come close to it. */
function among(word: tf.Tensor2D, others: tf.Tensor2D, random: () => number): tf.Tensor2D {
  const most = 20; // frames
  const shift = Math.round(most * (2 * random() - 1));
  const [begin, end] = [-30 - 15 * random(), 30 + 15 * random()].map(edge => FRAMES / 2 + shift + edge);
  const isWord = Array.from({length: FRAMES}, (_, i) => i >= begin! && i < end!);
  const moved = tf.slice(tf.pad(word, [[most, most], [0, 0]], -2), [most - shift, 0], [FRAMES, MELS]); // prettier-ignore
  return tf.maximum(moved, tf.where(tf.tensor2d(isWord, [FRAMES, 1], 'bool'), -1.13, others));
}

/** The class of each clip. */
export function classify(model: tf.LayersModel, clips: readonly Sound[]): number[] {
  return tf.tidy(() => Array.from(tf.argMax(model.predict(encodeWords(clips)) as tf.Tensor, 1).dataSync()));
}

/** The scores of each window of a long sound, given its frames. */
export function scoresIn(model: tf.LayersModel, frames: tf.Tensor2D): number[][] {
  return tf.tidy(() => {
    const hop = Math.round(HOP * FRAME_RATE);
    const count = Math.floor((frames.shape[0] - FRAMES) / hop) + 1;
    const parts = Array.from({length: Math.ceil(count / 256)}, (_, part) =>
      tf.tidy(() => {
        const windows = Array.from({length: Math.min(256, count - 256 * part)}, (__, i) =>
          tf.slice(frames, [(256 * part + i) * hop, 0], [FRAMES, MELS]),
        );
        return model.predict(tf.expandDims(tf.stack(windows), 3)) as tf.Tensor2D;
      }),
    );
    return tf.concat(parts).arraySync();
  });
}

/** When a score is an event. */
export interface Detection {
  threshold: number;
  /** In seconds. */
  coolDown: number;
}

/** What is detected, given the scores of windows. */
export function detectIn(
  scores: readonly (readonly number[])[],
  classes: readonly string[],
  {threshold, coolDown}: Detection,
): SoundEvent[] {
  const detect = makeDetector({threshold, coolDown});
  return scores.flatMap((row, i) => {
    const named = Object.fromEntries(row.map((score, label) => [classes[label]!, score]));
    return detect({time: i * HOP, scores: named}) ?? [];
  });
}

const TRIED = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995];
/** How many false alarms an hour are as bad as missing one word of a hundred. */
const ALARMS = 2;

/**
 * Chooses the threshold with the fewest missed words and false alarms, the lowest of several: in a stream of clips that
 * were not trained on, each word between two seconds of background, and in talk that was not. The cool-down is the
 * longest time that a word stays detected.
 */
export function chooseDetection(
  model: tf.LayersModel,
  {clips, labels}: Clips,
  classes: readonly string[],
  {held}: Talk,
): Detection {
  const background = classes.length - 1;
  const rooms = clips.filter((_, i) => labels[i] === background);
  const words = clips.flatMap((clip, i) => (labels[i] === background ? [] : [{clip, label: labels[i]!}]));
  const parts = words.flatMap(({clip}, i) => [rooms[i % rooms.length]!, clip]);
  const stream = joined([...parts, rooms[words.length % rooms.length]!]);
  const scores = tf.tidy(() => scoresIn(model, wordFrames(stream)));
  const others = scoresIn(model, held);
  const hours = (HOP * (scores.length / 2 + others.length)) / 3600;
  const known: SoundEvent[] = words.map(({label}, i) => ({time: 2 * i + 1, label: classes[label]!}));
  const faults = TRIED.map(threshold => {
    const found = detectIn(scores, classes, {threshold, coolDown: 1});
    const {recall, falseAlarms} = scoreEvents(found, known, {tolerance: 0.75});
    const alarms = falseAlarms + detectIn(others, classes, {threshold, coolDown: 1}).length;
    return 100 * (1 - recall) + alarms / hours / ALARMS;
  });
  const threshold = TRIED[faults.indexOf(Math.min(...faults))]!;
  const spans = words.map(({label}, i) => {
    const first = Math.round((2 * i) / HOP); // the window a second before the word
    const rows = scores.slice(first, first + Math.round(2 / HOP) + 1);
    const isIt = rows.map(row => row[label]! >= threshold);
    return (isIt.lastIndexOf(true) - isIt.indexOf(true)) * HOP;
  });
  return {threshold, coolDown: Math.max(...spans) + 2 * HOP};
}

/** One sound after the other. */
function joined(sounds: readonly Sound[]): Sound {
  const samples = new Float32Array(sounds.length * RATE);
  sounds.forEach((sound, i) => samples.set(sound.samples, i * RATE));
  return {samples, sampleRate: RATE};
}
