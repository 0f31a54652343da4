/**
 * Teaches a vision transformer, a DINOv2 with 22 million parameters, five kinds of drawings from ten of each.
 *
 *     npm run example -- vision
 *     npm run example -- vision --quick    half the epochs, fewer test drawings
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, saveAdapter, startWasm, trainableVariables} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {kilobytes, percent, shareRight, SHORT, table} from '../shared/report';
import {choose, KINDS} from './data';
import {baseFiles} from './files';
import {labelsAt, pixelsOf} from './images';
import {
  configOf,
  guesses,
  hubFiles,
  learn,
  learnHead,
  likeliest,
  nearestClasses,
  openBase,
  see,
  SETTINGS,
} from './learn';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();

// 1. Drawings of faces, animals and so on: ten of each kind to train on, and others to test on.
const {train, test} = choose({train: 10, test: QUICK ? 4 : 12}, SEED);
const [labels, truth] = [labelsAt(train), labelsAt(test)];

// 2. The pretrained model with a new head. The first eight of its twelve blocks compute each drawing once.
const files = await baseFiles();
const base = await openBase(files, KINDS.length);
const own = await see(base, await pixelsOf(files, base, train));
const held = await see(base, await pixelsOf(files, base, test));

// 3. LoRA in the last four blocks. The head trains first, so that the blocks don't follow a random one.
const model = applyLoRA(base, configOf(base, 'lora', SEED));
const {rate, epochs} = SETTINGS.lora;
const begin = Date.now();
await learnHead(base, model, own, labels, SEED);
const headAlone = guesses(model, held);
await learn(model, own, labels, {rate, epochs: QUICK ? epochs / 2 : epochs, seed: SEED});
const seconds = ((Date.now() - begin) / 1000).toFixed(0);

// 4. The adapter is a small file. Merged, the model is one that transformers in Python loads too.
await saveAdapter(model, `file://${join(OUTPUT, 'lora.safetensors')}`);
mkdirSync(join(OUTPUT, 'merged'), {recursive: true});
for (const [name, content] of Object.entries(await hubFiles(model, files, KINDS))) {
  writeFileSync(join(OUTPUT, 'merged', name), content);
}

// 5. The result, also of the merged model when it is loaded again.
const {model: loaded} = await loadTransformer(join(OUTPUT, 'merged'));
const pixels = await pixelsOf(files, loaded, test);
const again = likeliest(() => loaded.predict(pixels, {batchSize: 8}) as tf.Tensor);
const rows = [
  ['no training: nearest mean', nearestClasses(own, labels, held)],
  ['a new head alone', headAlone.map(({label}) => label)],
  ['LoRA in the last blocks', guesses(model, held).map(({label}) => label)],
  ['merged, in 16 bits, loaded again', again.map(({label}) => label)],
] as const;
console.log(
  `\n${table([['', 'accuracy'], ...rows.map(([name, guessed]) => [name, percent(shareRight(guessed, truth))])])}\n`,
);
const parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
console.log(`${parameters.toLocaleString('en')} parameters were trained in ${seconds} s, on ${train.length} drawings.`);
console.log(
  `The adapter is ${kilobytes(join(OUTPUT, 'lora.'))} kB, the model ${kilobytes(join(OUTPUT, 'merged/'))} kB, in ${OUTPUT}`,
);
if (QUICK) {
  console.log(SHORT);
}
