/**
 * An attempt at a better base, which is not the committed one (see the README): goes on with the network in `base/`, and
 * saves what it gets in the cache. It learns to tell 551 words and 1,200 made-up ones apart, with other words and noise
 * around and behind them, by 42 voices of espeak-ng, 1,600 made-up ones, and flite. The first stage hears one accent, the
 * second one eight. Everything is seeded. Clips and finished stages are kept in the cache: the clips take about a quarter
 * of an hour of processor time, the stages half an hour and five minutes.
 *
 *     npx tsx examples/sounds/refine.ts
 *     npx tsx examples/sounds/limits.ts ~/.cache/tfjs-lora/sounds/accents
 */
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adam, fileHandler, learningRateSchedule} from 'tfjs-lora';
import {centerSound, specAugment} from 'tfjs-lora/sound';
import {encodeWords, wordFrames} from 'tfjs-lora/words';
import {mulberry32} from '../shared/random';
import {CACHE} from './cache';
import {noise} from './clips';
import {CLIP_FRAMES, corpusOf, inventedWords} from './corpus';
import {bytesOf, FRAMES, MELS} from './model';
import {ACCENTS, BASE_WORDS, say, severally} from './voices';

const [BATCH, RATE] = [128, 1e-3];
const INVENTED = inventedWords(1200, 1);
/** The class of what is not one word: noise, the gap between two words, and several voices at once. */
const NONE = BASE_WORDS.length + INVENTED.length;

tf.enableProdMode();
const tfjsNode: string = '@tensorflow/tfjs-node';
await import(tfjsNode);
await tf.setBackend('tensorflow');
let random = mulberry32(1);

// Clips of 1.28 s, of which the network hears one second. One third of them are in a room.
const british = [
  await corpusOf(BASE_WORDS, 28, ['en-gb'], 1),
  await corpusOf(INVENTED, 12, ['en-gb'], 2),
  await corpusOf(BASE_WORDS, 2, 'flite', 3),
];
const accents = [await corpusOf(BASE_WORDS, 8, ACCENTS, 4), await corpusOf(BASE_WORDS, 8, ACCENTS, 5)];
/** What is trained in turn: how many steps, and how many of the clips have other accents. */
const STAGES = [
  {from: fileURLToPath(new URL('base', import.meta.url)), to: 'british', steps: 6000, share: 0},
  {from: join(CACHE, 'british'), to: 'accents', steps: 1200, share: 0.7},
];
const CLIP = CLIP_FRAMES * MELS;
const corpora = [...british, ...accents];
const bytes = Buffer.concat(corpora.map(each => each.bytes));
const labels = corpora.flatMap((each, i) =>
  Array.from(each.labels, label => (i === 1 ? BASE_WORDS.length : 0) + label),
);
/** How many clips are British. */
const BRITISH = british.reduce((sum, each) => sum + each.labels.length, 0);
let share = 0;
const anyClip = (): number => (random() < share ? BRITISH + anyOf(labels.length - BRITISH) : anyOf(BRITISH));
const noises = Array.from({length: 200}, (_, i) => tf.tidy(() => bytesOf(wordFrames(noise(4, 1000 + i)))));

/** The values that bytes stand for. */
const VALUES = Float32Array.from({length: 256}, (_, i) => i / 80 - 1.2);
/** The lowest value of the features. */
const FLOOR = (Math.log(1e-6) + 7) / 6;
const between = (low: number, high: number) => low + (high - low) * random();
const anyOf = (count: number) => Math.floor(count * random());

/**
 * Adds a clip to values as far as it is louder, with its middle at a frame; a little faster or slower, and as by a longer
 * or shorter vocal tract.
 */
function add(values: Float32Array, clip: number, center: number, from = 0, until = FRAMES): void {
  const [pace, tract, gain] = [between(0.85, 1.15), between(0.9, 1.1), between(-0.5, 0.5) / 6];
  const mels = Array.from({length: MELS}, (_, mel) => Math.min(MELS - 1.001, tract * mel));
  const start = clip * CLIP;
  for (let frame = Math.max(0, from); frame < Math.min(FRAMES, until); frame++) {
    const time = CLIP_FRAMES / 2 + pace * (frame - center);
    if (time < 0 || time >= CLIP_FRAMES - 1) {
      continue;
    }
    const early = Math.floor(time);
    const late = time - early;
    const row = start + early * MELS;
    for (let mel = 0; mel < MELS; mel++) {
      const low = Math.floor(mels[mel]!);
      const high = mels[mel]! - low;
      const at = row + low;
      const before = bytes[at]! + high * (bytes[at + 1]! - bytes[at]!);
      const after = bytes[at + MELS]! + high * (bytes[at + MELS + 1]! - bytes[at + MELS]!);
      const value = (before + late * (after - before)) / 80 - 1.2 + gain;
      const to = frame * MELS + mel;
      values[to] = Math.max(values[to]!, value);
    }
  }
}

/** The logarithm of the mean power, of every fourth value. */
function powerOf(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 4) {
    sum += Math.exp(6 * values[i]!);
  }
  return Math.log((4 * sum) / values.length);
}

/**
 * One second with a word somewhere about its middle, in more than half of all cases between other words, or with none: a
 * gap between two words, or only noise. Other voices and noise are behind it, and it is louder or quieter.
 */
function example(clip: number | undefined): {values: Float32Array; label: number} {
  const values = new Float32Array(FRAMES * MELS).fill(FLOOR);
  const isGap = clip === undefined && random() < 0.8;
  if (clip !== undefined) {
    const center = FRAMES / 2 + between(-15, 15);
    add(values, clip, center);
    if (random() < 0.6) {
      const [before, after] = [between(30, 45), between(30, 45)];
      if (random() < 0.75) {
        add(values, anyClip(), center - before - between(20, 40), 0, Math.round(center - before));
      }
      if (random() < 0.75) {
        add(values, anyClip(), center + after + between(20, 40), Math.round(center + after));
      }
    }
  } else if (isGap) {
    const center = FRAMES / 2 + between(-6, 6);
    const which = random();
    if (which < 0.8) {
      add(values, anyClip(), center - between(36, 60), 0, Math.round(center));
    }
    if (which > 0.2) {
      add(values, anyClip(), center + between(36, 60), Math.round(center));
    }
  }
  const loud = clip !== undefined || isGap ? powerOf(values) : between(-8, -2);
  const background = new Float32Array(FRAMES * MELS);
  const noiseBytes = noises[anyOf(noises.length)]!;
  const first = anyOf(noiseBytes.length / MELS - FRAMES) * MELS;
  for (let i = 0; i < background.length; i++) {
    background[i] = VALUES[noiseBytes[first + i]!]!;
  }
  const level = (loud - powerOf(background) - between(0.6, 6.9)) / 6; // 3 to 30 dB below the word
  let voices: Float32Array | undefined;
  let quieter = 0;
  if (random() < (clip === undefined ? 0.5 : 0.3)) {
    voices = new Float32Array(FRAMES * MELS).fill(FLOOR);
    for (let i = 0; i < 4; i++) {
      add(voices, anyClip(), between(0, FRAMES));
    }
    quieter = (loud - powerOf(voices) - between(1.5, 5)) / 6; // 6 to 22 dB below
  }
  const gain = between(-2.5, 1.5) / 6; // −11 to 7 dB
  for (let i = 0; i < values.length; i++) {
    const value = Math.max(values[i]!, level + background[i]!, voices === undefined ? FLOOR : voices[i]! + quieter);
    values[i] = Math.max(FLOOR, gain + value);
  }
  return {values, label: clip === undefined ? NONE : labels[clip]!};
}

/** Batches of which a tenth has no word. */
function* batches(steps: number): Generator<{xs: tf.Tensor; ys: tf.Tensor}> {
  const mask = specAugment({timeMasks: 1, maxFrames: 15, frequencyMasks: 1, maxMels: 6, seed: 1});
  for (let step = 0; step < steps; step++) {
    yield tf.tidy(() => {
      const all = new Float32Array(BATCH * FRAMES * MELS);
      const own = Array.from({length: BATCH}, (_, i) => {
        const {values, label} = example(i % 10 === 0 ? undefined : anyClip());
        all.set(values, i * FRAMES * MELS);
        return label;
      });
      const xs = tf.expandDims(mask(tf.tensor3d(all, [BATCH, FRAMES, MELS])), 3);
      return {xs, ys: tf.oneHot(tf.tensor1d(own, 'int32'), NONE + 1)};
    });
  }
}

const PER_REPORT = 50;
for (const [i, stage] of STAGES.entries()) {
  const folder = join(CACHE, stage.to);
  if (existsSync(join(folder, 'model.json'))) {
    continue;
  }
  share = stage.share;
  random = mulberry32(1 + i);
  const base = await tf.loadLayersModel(fileHandler(stage.from));
  const kernelInitializer = i === 0 ? tf.initializers.glorotUniform({seed: 1}) : tf.initializers.zeros();
  const words = tf.layers.dense({units: NONE + 1, activation: 'softmax', name: 'words', kernelInitializer});
  const model = tf.sequential({layers: [...base.layers, words]});
  model.compile({optimizer: adam({learningRate: RATE}), loss: 'categoricalCrossentropy'});
  const begin = Date.now();
  await model.fitDataset(
    tf.data.generator(() => batches(stage.steps)),
    {
      epochs: stage.steps / PER_REPORT,
      batchesPerEpoch: PER_REPORT,
      verbose: 0,
      callbacks: [
        learningRateSchedule({shape: 'linear', warmup: 0.05}),
        new tf.CustomCallback({
          onEpochEnd: (ended, logs) => {
            const minutes = ((Date.now() - begin) / 60e3).toFixed(1);
            console.log(
              `${stage.to}, step ${(ended + 1) * PER_REPORT}: loss ${Number(logs?.loss).toFixed(3)}, ${minutes} min`,
            );
          },
        }),
      ],
    },
  );
  await base.save(fileHandler(folder));
  const unseen = await severally(BASE_WORDS, async (word, label) => centerSound(await say(word, 'held', 1 + label)));
  const guessed = tf.tidy(() => tf.argMax(model.predict(encodeWords(unseen)) as tf.Tensor, 1).dataSync());
  const right = guessed.filter((guess, label) => guess === label).length;
  console.log(`${((100 * right) / unseen.length).toFixed(1)} % of ${unseen.length} clips of held-out voices.`);
}
