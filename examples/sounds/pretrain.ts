/**
 * Creates the files in `public/base/`: a small convolutional network that tells 246 spoken words apart, as far as its
 * embedding. espeak-ng and flite speak the words. It takes ten minutes. The files that are committed were made by an
 * earlier version, with espeak-ng alone.
 *
 *     npx tsx examples/sounds/pretrain.ts
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, fileHandler, learningRateSchedule} from 'tfjs-lora';
import {augmentSounds, type Sound, specAugment} from 'tfjs-lora/sound';
import {shuffled} from '../shared/random';
import {middle, noise, seconds} from './clips';
import {encode, FRAMES, framesOf, MELS, newBase} from './model';
import {BASE_WORDS, room, say, severally, type Speakers} from './voices';

/** Clips of each word, minutes of the background, and what is trained. */
const [CLIPS, MINUTES, EPOCHS, BATCH, RATE] = [36, 6, 6, 32, 2e-3];
const NONE = BASE_WORDS.length;

tf.enableProdMode();
await tf.setBackend('wasm');

/** Some clips of each word. */
async function clipsOf(speakers: Speakers, count: number): Promise<{clip: Sound; label: number}[]> {
  const labels = Array.from({length: NONE * count}, (_, i) => Math.floor(i / count));
  return severally(labels, async (label, i) => {
    const seed = 1 + 97 * label + 7919 * (i % count);
    return {label, clip: middle(await say(BASE_WORDS[label]!, speakers, seed))};
  });
}

// Clips, each with an augmented copy. A spectrogram is kept as it will be cut into batches.
const noises = Array.from({length: 12}, (_, i) => noise(3, 1000 + i));
const augment = augmentSounds({gain: 10, shift: 0.15, noise: noises, snr: [3, 25], seed: 1});
const words = await clipsOf('base', CLIPS);
const roomSeeds = Array.from({length: MINUTES}, (_, i) => 900 + i);
const rooms = await severally(roomSeeds, seed => room(1, 'base', seed));
const others = [...rooms.flatMap(seconds), ...Array.from({length: 60}, (_, i) => noise(1, 4000 + i))];
const examples = [...words, ...others.map(clip => ({clip, label: NONE}))].flatMap(({clip, label}) =>
  [clip, augment(clip)].map(sound => ({label, frames: tf.tidy(() => framesOf(sound).dataSync())})),
);

const model = newBase(NONE + 1);
model.compile({optimizer: adam({learningRate: RATE}), loss: 'categoricalCrossentropy'});
const mask = specAugment({timeMasks: 1, maxTime: 15, frequencyMasks: 1, maxFrequency: 6, seed: 1});
const perEpoch = Math.floor(examples.length / BATCH);

/** The batches of all epochs, each masked anew. */
function* batches(): Generator<{xs: tf.Tensor; ys: tf.Tensor}> {
  const order = Array.from({length: EPOCHS}, (_, epoch) => shuffled(examples, epoch).slice(0, perEpoch * BATCH)).flat();
  for (let at = 0; at < order.length; at += BATCH) {
    const batch = order.slice(at, at + BATCH);
    yield tf.tidy(() => {
      const frames = tf.stack(batch.map(each => tf.tensor2d(each.frames as Float32Array, [FRAMES, MELS])));
      const ys = tf.oneHot(batch.map(({label}) => label), NONE + 1); // prettier-ignore
      return {xs: tf.expandDims(mask(frames), 3), ys};
    });
  }
}

await model.fitDataset(tf.data.generator(batches), {
  epochs: EPOCHS,
  batchesPerEpoch: perEpoch,
  verbose: 0,
  callbacks: [
    learningRateSchedule({shape: 'linear', warmup: 0.1}),
    new tf.CustomCallback({
      onEpochEnd: (ended, logs) => console.log(`epoch ${ended + 1}: loss ${Number(logs?.loss).toFixed(3)}`),
    }),
  ],
});
const unseen = await clipsOf('held', 2);
const guessed = tf.tidy(() =>
  tf.argMax(model.predict(encode(unseen.map(({clip}) => clip))) as tf.Tensor, 1).dataSync(),
);
const right = unseen.filter(({label}, i) => label === guessed[i]).length;
console.log(`${((100 * right) / unseen.length).toFixed(1)} % of ${unseen.length} clips of held-out voices.`);
const base = tf.model({inputs: model.inputs, outputs: model.getLayer('embedding').output});
await base.save(fileHandler(fileURLToPath(new URL('public/base', import.meta.url))));
