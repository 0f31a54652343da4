/**
 * Creates the files in `base/`: a small convolutional network that tells 551 spoken words apart, as far as its
 * embedding. espeak-ng and flite speak the words, and tfjs-node trains (`npm run setup -- tfjs-node`). Everything is
 * seeded. The files are committed; run it to create them again (20 minutes). The second program writes the network in 8
 * bits, as `tfjs-lora/words` has it.
 *
 *     npx tsx examples/sounds/pretrain.ts
 *     npx tsx scripts/wordBase.ts
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adam, fileHandler, learningRateSchedule} from 'tfjs-lora';
import {centerSound, type Sound, specAugment} from 'tfjs-lora/sound';
import {encodeWords, wordFrames} from 'tfjs-lora/words';
import {mulberry32, shuffled} from '../shared/random';
import {noise} from './clips';
import {FRAMES, MELS, newBase} from './model';
import {BASE_WORDS, inRoom, room, say, severally} from './voices';

/** Clips of each word, minutes of the background, and how it is trained. */
const [CLIPS, MINUTES, EPOCHS, BATCH, RATE] = [20, 6, 24, 64, 3e-3];
const NONE = BASE_WORDS.length;
/** The lowest value of the features. */
const FLOOR = (Math.log(1e-6) + 7) / 6;

tf.enableProdMode();
const tfjsNode: string = '@tensorflow/tfjs-node';
await import(tfjsNode);
await tf.setBackend('tensorflow');
const random = mulberry32(1);

/** The log-mel frames of a sound. */
const valuesOf = (sound: Sound) => tf.tidy(() => wordFrames(sound).dataSync() as Float32Array);

// Clips that are longer than the second which the network hears, some of them in a room; noises, and rooms.
const LENGTH = 1.3;
const labels = Array.from({length: NONE * CLIPS}, (_, i) => Math.floor(i / CLIPS));
const words = await severally(labels, async (label, i) => {
  const clip = centerSound(await say(BASE_WORDS[label]!, 'base', 1 + 97 * label + 7919 * (i % CLIPS)), LENGTH);
  return {label, frames: valuesOf(i % 3 === 0 ? inRoom(clip, i) : clip)};
});
const noises = Array.from({length: 24}, (_, i) => valuesOf(noise(4, 1000 + i)));
const roomSeeds = Array.from({length: MINUTES}, (_, i) => 900 + i);
const rooms = await severally(roomSeeds, async seed => valuesOf(await room(1, 'base', seed)));
const backgrounds = [...rooms, ...rooms, ...noises];
const others = Array.from({length: 600}, (_, i) => ({label: NONE, frames: backgrounds[i % backgrounds.length]!}));
const examples = [...words, ...others];

/**
 * One second of a clip, at a random place, a little faster or slower, as by a longer or shorter vocal tract, louder or
 * quieter, with noise, and half of the time between other words. Of two sounds at once, the louder one counts.
 */
function varied(frames: Float32Array): Float32Array {
  const [pace, tract] = [0.85 + 0.3 * random(), 0.9 + 0.2 * random()];
  const count = frames.length / MELS;
  const start = (count - 1 - pace * (FRAMES - 1)) * random();
  const values = new Float32Array(FRAMES * MELS);
  for (let i = 0; i < values.length; i++) {
    const [time, mel] = [Math.max(0, start + pace * Math.floor(i / MELS)), Math.min(MELS - 1, tract * (i % MELS))];
    const [early, low] = [Math.min(count - 2, Math.floor(time)), Math.min(MELS - 2, Math.floor(mel))];
    const [late, high] = [Math.min(1, time - early), mel - low];
    const at = early * MELS + low;
    const before = frames[at]! + high * (frames[at + 1]! - frames[at]!);
    const after = frames[at + MELS]! + high * (frames[at + MELS + 1]! - frames[at + MELS]!);
    values[i] = before + late * (after - before);
  }
  const loud = powerOf(values);
  if (random() < 0.5) {
    const [other, center] = [words[Math.floor(random() * words.length)]!.frames, (count / 2 - start) / pace];
    const [from, until] = [center - 30 - 15 * random(), center + 30 + 15 * random()];
    const first = Math.floor((other.length / MELS - FRAMES) * random()) * MELS;
    values.forEach((value, i) => {
      const isOutside = i < from * MELS || i > until * MELS;
      values[i] = isOutside ? Math.max(value, other[first + i]!) : value;
    });
  }
  const background = noises[Math.floor(random() * noises.length)]!;
  const first = Math.floor((background.length / MELS - FRAMES) * random()) * MELS;
  const quieter = 0.6 + 6.3 * random(); // in nepers of power: 3 to 30 dB
  const level = (loud - powerOf(background.subarray(first, first + values.length)) - quieter) / 6;
  const gain = (4 * random() - 2.5) / 6; // −11 to 7 dB
  return values.map((value, i) => Math.max(FLOOR, gain + Math.max(value, level + background[first + i]!)));
}

/** The logarithm of the mean power, of every fourth value. */
function powerOf(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 4) {
    sum += Math.exp(6 * values[i]!);
  }
  return Math.log((4 * sum) / values.length);
}

const model = newBase({words: NONE + 1, seed: 1});
model.compile({optimizer: adam({learningRate: RATE}), loss: 'categoricalCrossentropy'});
const mask = specAugment({timeMasks: 1, maxFrames: 15, frequencyMasks: 1, maxMels: 6, seed: 1});
const perEpoch = Math.floor(examples.length / BATCH);

/** The batches of all epochs, each varied anew. */
function* batches(): Generator<{xs: tf.Tensor; ys: tf.Tensor}> {
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const order = shuffled(examples, epoch);
    for (let at = 0; at + BATCH <= order.length; at += BATCH) {
      const batch = order.slice(at, at + BATCH);
      yield tf.tidy(() => {
        const frames = tf.stack(batch.map(each => tf.tensor2d(varied(each.frames), [FRAMES, MELS])));
        const ys = tf.oneHot(batch.map(({label}) => label), NONE + 1); // prettier-ignore
        return {xs: tf.expandDims(mask(frames), 3), ys};
      });
    }
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
const unseen = await severally([...BASE_WORDS.keys()], async i => ({
  label: i,
  clip: centerSound(await say(BASE_WORDS[i]!, 'held', 1 + i)),
}));
const guessed = tf.tidy(() =>
  tf.argMax(model.predict(encodeWords(unseen.map(({clip}) => clip))) as tf.Tensor, 1).dataSync(),
);
const right = unseen.filter(({label}, i) => label === guessed[i]).length;
console.log(`${((100 * right) / unseen.length).toFixed(1)} % of ${unseen.length} clips of held-out voices.`);
await folded().save(fileHandler(fileURLToPath(new URL('base', import.meta.url))));

/** The base without the normalizations, whose factors and sums its convolutions take over. */
function folded(): tf.Sequential {
  const base = newBase();
  for (const layer of base.layers.filter(({weights}) => weights.length > 0)) {
    const [kernel, bias] = model.getLayer(layer.name).getWeights() as [tf.Tensor, tf.Tensor];
    const norm = model.layers.find(({name}) => name === layer.name.replace('conv', 'norm'));
    if (norm === undefined || norm.name === layer.name) {
      layer.setWeights([kernel, bias]);
      continue;
    }
    const [gamma, beta, mean, variance] = norm.getWeights() as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const factor = tf.div(gamma, tf.sqrt(tf.add(variance, 1e-3)));
    layer.setWeights([tf.mul(kernel, factor), tf.add(tf.mul(tf.sub(bias, mean), factor), beta)]);
  }
  return base;
}
