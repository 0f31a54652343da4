/**
 * Measures what the base does not know: how often it takes a word by a voice and an accent for the right one of its 551
 * words, by the mean embedding of each in the clips that it was trained on. It makes those clips if the cache lacks them.
 *
 *     npx tsx examples/sounds/limits.ts
 *     npx tsx examples/sounds/limits.ts folder    another base
 */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler} from 'tfjs-lora';
import {centerSound} from 'tfjs-lora/sound';
import {encodeWords, loadWordBase} from 'tfjs-lora/words';
import {mulberry32} from '../shared/random';
import {mean, percent, table} from '../shared/report';
import {CLIP_FRAMES, corpusOf} from './corpus';
import {FRAMES, framesFrom, MELS} from './model';
import {ACCENTS, BASE_WORDS, say, severally, type Speakers, VOICES} from './voices';

/** Clips of each voice, as many of each accent. */
const CLIPS = 3 * ACCENTS.length;

await tf.setBackend('wasm');
tf.enableProdMode();
const [folder] = process.argv.slice(2);
const base = folder === undefined ? (await loadWordBase()).model : await tf.loadLayersModel(fileHandler(folder));
const embedded = (xs: tf.Tensor) =>
  tf.tidy(() => {
    const values = base.predict(xs, {batchSize: 128}) as tf.Tensor;
    return tf.div<tf.Tensor2D>(values, tf.add(tf.norm(values, 2, 1, true), 1e-6));
  });

// 1. The mean of each word, over clips with every accent.
const {bytes, labels} = await corpusOf(BASE_WORDS, 8, ACCENTS, 4);
const embeddings = tf.tidy(() =>
  tf.concat(
    Array.from({length: Math.ceil(labels.length / 128)}, (_, part) => {
      const some = bytes.subarray(part * 128 * CLIP_FRAMES * MELS, (part + 1) * 128 * CLIP_FRAMES * MELS);
      const frames = tf.reshape(framesFrom(some), [-1, CLIP_FRAMES, MELS, 1]);
      return embedded(tf.slice(frames, [0, (CLIP_FRAMES - FRAMES) / 2, 0, 0], [-1, FRAMES, MELS, 1]));
    }),
  ),
);
const means = tf.tidy(() => {
  const sums = tf.matMul(tf.oneHot(tf.tensor1d(labels), BASE_WORDS.length), embeddings, true, false); // prettier-ignore
  return tf.div<tf.Tensor2D>(sums, tf.add(tf.norm(sums, 2, 1, true), 1e-6));
});

// 2. Clips of voices that the base has not heard, and which word they are taken for.
const kinds: Speakers[] = ['held', 'test'];
const asked = kinds.flatMap(kind => VOICES[kind].split(' ').map(voice => ({kind, voice})));
const random = mulberry32(3);
const wanted = asked.flatMap(each =>
  Array.from({length: CLIPS}, (_, i) => ({
    ...each,
    accent: ACCENTS[i % ACCENTS.length]!,
    label: Math.floor(BASE_WORDS.length * random()),
  })),
);
const clips = await severally(wanted, async ({kind, voice, accent, label}, i) =>
  centerSound(await say(BASE_WORDS[label]!, kind, i, {voice, accent})),
);
const guesses = tf.tidy(() => tf.argMax(tf.matMul(embedded(encodeWords(clips)), means, false, true), 1).dataSync());
const right = wanted.map((each, i) => ({...each, right: guesses[i] === each.label ? 1 : 0}));
const shareOf = (is: (each: (typeof right)[number]) => boolean) =>
  percent(mean(right.filter(is).map(each => each.right)));

const rows = [...ACCENTS, undefined].map(accent => [
  accent ?? 'all',
  ...kinds.map(kind => shareOf(each => each.kind === kind && (accent === undefined || each.accent === accent))),
]);
const voices = asked.map(({kind, voice}) => [voice, kind, shareOf(each => each.voice === voice)]);
console.log(`${table([['accent', ...kinds], ...rows])}\n\n${table([['voice', 'for', 'right'], ...voices])}`);
