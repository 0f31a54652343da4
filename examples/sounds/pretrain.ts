/**
 * Creates the files in `public/base/`: a small convolutional network that knows forty words, from speech that espeak-ng
 * generates. They are committed; run it to create them again (two minutes).
 *
 *     npx tsx examples/sounds/pretrain.ts
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, fileHandler, learningRateSchedule} from 'tfjs-lora';
import {augmentSounds, type Sound} from 'tfjs-lora/sound';
import {noise, second} from './clips';
import {encode, newBase} from './model';
import {background, BASE_WORDS, say} from './voices';

/** Clips of each word, and how often each is augmented. */
const [CLIPS, COPIES, EPOCHS] = [24, 2, 12];

tf.enableProdMode();
await tf.setBackend('wasm');

const noises = Array.from({length: 12}, (_, i) => noise(3, 1000 + i));
const augment = augmentSounds({gain: 10, shift: 0.15, noise: noises, snr: [3, 25], seed: 1});
const classes = BASE_WORDS.length + 1;

/** Clips of each word and of the background. */
function clipsOf(count: number, speakers: 'base' | 'test', seed: number): {clips: Sound[]; labels: number[]} {
  const words = BASE_WORDS.flatMap((word, label) =>
    Array.from({length: count}, (_, i) => ({label, clip: second(say(word, speakers, seed + 97 * label + 7919 * i))})),
  );
  const others = Array.from({length: 2 * count}, (_, i) => {
    return {label: BASE_WORDS.length, clip: background(speakers, seed + 3 * i)};
  });
  const all = [...words, ...others];
  return {clips: all.map(({clip}) => clip), labels: all.map(({label}) => label)};
}

const {clips, labels} = clipsOf(CLIPS, 'base', 1);
const copies = Array.from({length: COPIES}, () => clips.map(augment));
const xs = encode([...clips, ...copies.flat()]);
const ys = tf.oneHot(Array.from({length: COPIES + 1}, () => labels).flat(), classes);
const model = newBase(classes);
model.compile({optimizer: adam({learningRate: 2e-3}), loss: 'categoricalCrossentropy', metrics: ['accuracy']});
await model.fit(xs, ys, {
  epochs: EPOCHS,
  batchSize: 32,
  verbose: 0,
  callbacks: [
    learningRateSchedule({warmup: 0.05}),
    new tf.CustomCallback({
      onEpochEnd: (epoch, logs) => console.log(`epoch ${epoch + 1}: ${Number(logs?.acc).toFixed(3)}`),
    }),
  ],
});
const unseen = clipsOf(3, 'test', 5);
const [, accuracy] = model.evaluate(encode(unseen.clips), tf.oneHot(unseen.labels, classes)) as tf.Scalar[];
console.log(`${(100 * accuracy!.dataSync()[0]!).toFixed(1)} % of ${unseen.clips.length} clips of held-out voices.`);
await model.save(fileHandler(fileURLToPath(new URL('public/base', import.meta.url))));
