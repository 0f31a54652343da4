/**
 * Teaches a 2× upscaler that was trained on photos to enlarge emoji: with LoRA, and for comparison with full
 * fine-tuning.
 *
 *     npm run example
 *     npm run example -- --quick    a tenth of the steps
 */
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, fileHandler, loadAdapter, mergeLoRA, progress, saveAdapter, startWasm} from 'tfjs-lora';
import {packageFile} from '../shared/packages';
import {cutPatches, loadEmoji} from './data';
import {writePicture} from './picture';
import {bicubic, psnr, toBytes} from './quality';
import {kilobytes, SHORT, table} from '../shared/report';

const SEED = 7;
const QUICK = process.argv.includes('--quick');
const STEPS = QUICK ? 50 : 500;
const BATCH = 8;
const UPSCALER = packageFile('@upscalerjs/default-model/models/');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();

// 1. Real images. The model trains on patches of 400 emoji, and is tested on 64 others.
const {train, test} = loadEmoji({train: 400, test: 64}, SEED);
const patches = cutPatches(train, STEPS * BATCH, SEED);
console.log(`${train.names.length} emoji to train on, ${test.names.length} held out`);

// 2. A pretrained model. On drawings, bicubic interpolation is better.
const base = await tf.loadLayersModel(fileHandler(join(UPSCALER, 'model.json')));

// 3. The same model with low-rank factors in every convolution. Only these train, and `base` stays as it is.
const model = applyLoRA(base, {rank: 8, alpha: 16, seed: SEED});
const loraSeconds = await fit('LoRA', model, 2e-3);

// 4. The adapter is a small file. Applied to the base, it gives the trained model again.
const adapterFile = fileHandler(join(OUTPUT, 'emoji.json'));
await saveAdapter(model, adapterFile);
const again = applyLoRA(base, await loadAdapter(adapterFile));

// 5. Merged into the kernels, it costs nothing at inference, and plain tfjs can load the model.
const mergedFile = fileHandler(join(OUTPUT, 'merged'));
await mergeLoRA(model).save(mergedFile);
const merged = await tf.loadLayersModel(mergedFile);

// 6. For comparison, full fine-tuning: as many steps on the same patches. Both learning rates are the best of several.
//    tfjs has no gradients of convolutions on WASM; the library registered them in step 3.
const full = await tf.loadLayersModel(fileHandler(join(UPSCALER, 'model.json')));
const fullSeconds = await fit('full fine-tuning', full, 4e-4);
await full.save(fileHandler(join(OUTPUT, 'full')));

// 7. The result in numbers.
const images = {
  bicubic: bicubic(test.small),
  base: upscale(base),
  lora: upscale(again),
  full: upscale(full),
};
const decibels = (method: keyof typeof images) => psnr(images[method], test.large).toFixed(2);
const count = (trained: tf.LayersModel) =>
  trained.trainableWeights.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]), 0);
console.log(
  `\n${table([
    ['', 'PSNR, dB', 'trainable parameters', 'seconds', 'file, kB'],
    ['bicubic', decibels('bicubic'), '–', '–', '–'],
    ['base', decibels('base'), '0', '–', kilobytes(UPSCALER)],
    [
      'LoRA, rank 8',
      decibels('lora'),
      count(model).toLocaleString('en'),
      loraSeconds,
      kilobytes(join(OUTPUT, 'emoji.')),
    ],
    [
      'full fine-tuning',
      decibels('full'),
      count(full).toLocaleString('en'),
      fullSeconds,
      kilobytes(join(OUTPUT, 'full/')),
    ],
  ])}\n`,
);
const difference = tf.max(tf.abs(tf.sub(upscale(merged), images.lora))).dataSync()[0]!;
console.log(`The merged model differs from the adapted one by at most ${difference.toPrecision(1)} of 255.`);

// 8. The result as an image.
const shown = (all: tf.Tensor4D) => toBytes(tf.slice(all, 0, 6));
await writePicture(join(OUTPUT, 'comparison.png'), [
  {title: 'input', subtitle: '32 px', images: shown(test.small)},
  {title: 'bicubic', subtitle: `${decibels('bicubic')} dB`, images: shown(images.bicubic)},
  {title: 'base', subtitle: `${decibels('base')} dB`, images: shown(images.base)},
  {title: 'LoRA', subtitle: `${decibels('lora')} dB`, images: shown(images.lora)},
  {title: 'full fine-tuning', subtitle: `${decibels('full')} dB`, images: shown(images.full)},
  {title: 'original', subtitle: '64 px', images: shown(test.large)},
]);
console.log(`Compare the methods in ${join(OUTPUT, 'comparison.png')}. The adapter and the models are next to it.`);
if (QUICK) {
  console.log(SHORT);
}

/** Trains on every patch once, in order, and returns the seconds that this took. */
async function fit(label: string, trained: tf.LayersModel, learningRate: number): Promise<string> {
  trained.compile({optimizer: adam({learningRate}), loss: 'meanSquaredError'});
  const start = Date.now();
  await trained.fit(patches.small, patches.large, {
    batchSize: BATCH,
    shuffle: false,
    verbose: 0,
    callbacks: progress({label}),
  });
  return ((Date.now() - start) / 1000).toFixed(0);
}

/** The held-out emoji at twice their size. */
function upscale(upscaler: tf.LayersModel): tf.Tensor4D {
  return upscaler.predict(test.small, {batchSize: 16}) as tf.Tensor4D;
}
