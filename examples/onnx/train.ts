/**
 * Teaches a published ONNX file, PP-OCR's classifier of text directions, handwriting, writes what LoRA learned into the
 * file, and runs that with ONNX Runtime.
 *
 *     npm run example -- onnx
 *     npm run example -- onnx --quick    fewer lines
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {saveAdapter, startWasm} from 'tfjs-lora';
import {toONNX} from 'tfjs-lora/onnx';
import {kilobytes, percent, SHORT, table} from '../shared/report';
import {makeLines} from './data';
import {chancesInNode, modelFile} from './files';
import {chancesOf, learn, openBase, parametersOf, SETTINGS, shareRight} from './learn';
import {upsideDown} from './lines';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
mkdirSync(OUTPUT, {recursive: true});

// 1. Handwritten numbers. The model trains on 100 lines, and is tested on 150 others, each upright and upside down.
const {train, test} = makeLines(QUICK ? {train: 40, test: 50} : {train: 100, test: 150}, SEED);
const lines = test.flatMap(line => [line, upsideDown(line)]);
const isTurned = lines.map((_, i) => i % 2 === 1);
console.log(`${train.length} lines to train on, ${test.length} others to test on`);

// 2. The published file as a model of tfjs.
const file = modelFile();
const base = await openBase(file);

// 3. LoRA in its convolutions; the last layer trains in full. The layers before them compute each line once.
const begin = Date.now();
const model = await learn(base, train, 'lora', {epochs: SETTINGS.lora.epochs, seed: SEED});
const seconds = ((Date.now() - begin) / 1000).toFixed(0);

// 4. What LoRA learned, in a small file, and written into the values of the published one.
await saveAdapter(model, `file://${join(OUTPUT, 'lora.safetensors')}`);
const tuned = await toONNX(model, file);
writeFileSync(join(OUTPUT, 'tuned.onnx'), tuned);

// 5. The result. ONNX Runtime computes from the written file what the model computes.
const rows = [
  ['the published file', await chancesOf(base, lines)],
  ['with LoRA', await chancesOf(model, lines)],
  ['the written file, by ONNX Runtime', await chancesInNode(tuned, lines)],
] as const;
const accuracies = rows.map(([name, chances]) => [name, percent(shareRight(chances, isTurned))]);
console.log(`\n${table([['', 'accuracy'], ...accuracies])}\n`);
console.log(`${parametersOf(model).toLocaleString('en')} parameters were trained in ${seconds} s.`);
console.log(
  `The adapter is ${kilobytes(join(OUTPUT, 'lora.'))} kB, the file ${kilobytes(join(OUTPUT, 'tuned.'))} kB, in ${OUTPUT}`,
);
if (QUICK) {
  console.log(SHORT);
}
