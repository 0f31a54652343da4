import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, learningRateSchedule, type LoRAConfig, replaceHead, stopOn} from 'tfjs-lora';
import {augmentSounds, makeDetector, type Sound, type SoundEvent} from 'tfjs-lora/sound';
import {shuffled} from '../shared/random';
import {encode, FRAME_RATE, FRAMES, framesOf, MELS} from './model';

/** What trains: a new head alone, LoRA in all layers besides, or all weights. */
export type Way = 'head' | 'lora' | 'full';

/** Learning rates and epochs: common ones, which were not searched. */
export const SETTINGS: Record<Way, {rate: number; epochs: number}> = {
  head: {rate: 5e-3, epochs: 20},
  lora: {rate: 3e-3, epochs: 15},
  full: {rate: 1e-3, epochs: 15},
};

/** Labelled clips of one second. */
export interface Clips {
  clips: Sound[];
  labels: number[];
}

const BATCH = 32;
/** Seconds from one window of a stream to the next. */
export const HOP = 0.25;

/** A base with a new head, adapted for a way. */
export function adapt(base: tf.LayersModel, classes: number, way: Way, seed: number): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotUniform({seed});
  const head = tf.layers.dense({units: classes, activation: 'softmax', name: 'classes', kernelInitializer});
  const model = replaceHead(base, [head], {at: 'embedding'});
  const none = [() => true];
  const config: Record<Way, LoRAConfig> = {
    head: {exclude: none, trainInFull: ['classes']},
    lora: {rank: 8, alpha: 16, seed, exclude: ['classes'], trainInFull: ['classes']},
    full: {exclude: none, trainInFull: [/./]},
  };
  const adapted = applyLoRA(model, config[way]);
  disposeModel(model);
  return adapted;
}

/** How a model learns. */
export interface Settings {
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

/** Trains on clips and augmented copies of them. Their order depends on the seed alone. */
export async function learn(
  model: tf.LayersModel,
  {clips, labels}: Clips,
  {rate, epochs, copies, noise, seed, signal, onProgress}: Settings,
): Promise<void> {
  const augment = augmentSounds({gain: 10, shift: 0.15, noise, snr: [5, 25], seed});
  const all = Array.from({length: copies + 1}, (_, copy) =>
    clips.map((clip, i) => ({clip: copy === 0 ? clip : augment(clip), label: labels[i]!})),
  );
  const order = shuffled(all.flat(), seed);
  const classes = model.outputs[0]!.shape[1]!;
  const xs = encode(order.map(({clip}) => clip));
  const ys = tf.tidy(() => tf.cast(tf.oneHot(order.map(({label}) => label), classes), 'float32')); // prettier-ignore
  const optimizer = adam({learningRate: rate});
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  try {
    const steps = epochs * Math.ceil(order.length / BATCH);
    let done = 0;
    const callbacks = [
      learningRateSchedule({warmup: 0.1}),
      new tf.CustomCallback({onBatchEnd: () => onProgress?.(++done / steps)}),
      ...(signal ? [stopOn(signal)] : []),
    ];
    const yieldEvery = onProgress === undefined ? 'never' : 'auto';
    await model.fit(xs, ys, {epochs, batchSize: BATCH, shuffle: false, verbose: 0, yieldEvery, callbacks});
  } finally {
    tf.dispose([xs, ys]);
    optimizer.dispose();
  }
}

/** The class of each clip. */
export function classify(model: tf.LayersModel, clips: readonly Sound[]): number[] {
  return tf.tidy(() => Array.from(tf.argMax(model.predict(encode(clips)) as tf.Tensor, 1).dataSync()));
}

/** The scores of each window of a long sound. Its spectrogram is computed once. */
export function scoresIn(model: tf.LayersModel, sound: Sound): number[][] {
  return tf.tidy(() => {
    const frames = framesOf(sound);
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

/** What is detected, given the scores of windows. */
export function detectIn(
  scores: readonly (readonly number[])[],
  classes: readonly string[],
  threshold: number,
): SoundEvent[] {
  const detect = makeDetector({threshold, coolDown: 1});
  return scores.flatMap((row, i) => {
    const named = Object.fromEntries(row.map((score, label) => [classes[label]!, score]));
    return detect({time: i * HOP, scores: named}) ?? [];
  });
}

/** The lowest threshold at which nothing is detected where there is nothing, or the highest that is tried. */
export function thresholdFor(scores: readonly (readonly number[])[], classes: readonly string[]): number {
  const tried = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99];
  return tried.find(threshold => detectIn(scores, classes, threshold).length === 0) ?? tried.at(-1)!;
}
