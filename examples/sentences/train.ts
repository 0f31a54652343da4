/**
 * Three adapters share one pretrained sentence encoder. Each classifies the subject lines of mails: as spam or not, by
 * mailing list, and as written by a person or not.
 *
 *     npm run example -- sentences
 *     npm run example -- sentences --quick    fewer subject lines
 */
import {statSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  compileModel,
  fileHandler,
  getAdapter,
  loadAdapter,
  progress,
  saveAdapter,
  setAdapter,
  startWasm,
} from 'tfjs-lora';
import {encodeExamples} from 'tfjs-lora/transformers';
import {mails, minilm} from '../../scripts/pretrained';
import {percent, SHORT, table} from '../shared/report';
import {accuracyOf, classifier, ENCODED, LORA} from './classifier';
import {makeTasks} from './mails';

const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();

// 1. Real subject lines. Each task trains on some of them, and is tested on others.
const tasks = Object.entries(makeTasks(mails(), QUICK ? {train: 96, test: 128} : {train: 256, test: 320}));

// 2. A pretrained encoder, with a new head for the task with the most classes.
const encoder = await minilm();
const base = await classifier(encoder, Math.max(...tasks.map(([, {classes}]) => classes.length)));
const megabytes = (tf.memory().numBytes / 1e6).toFixed(0);

// 3. Low-rank factors in every block. They train with the head, and the encoder stays as it is.
const model = applyLoRA(base, LORA);
const untrained = getAdapter(model);

// 4. An adapter for each task, in a file. All of them begin with the same values.
for (const [name, {train}] of tasks) {
  setAdapter(model, untrained);
  compileModel(model, {optimizer: adam({learningRate: 2e-3}), metrics: ['accuracy']});
  const data = await encodeExamples(model, encoder.tokenizer, train, {...ENCODED, seed: 1});
  await model.fitDataset(data, {epochs: 2, verbose: 0, callbacks: progress({label: name})});
  await saveAdapter(model, fileHandler(join(OUTPUT, `${name}.safetensors`)));
}

// 5. Switching to a task sets its adapter; the encoder in memory is the same.
const rows: string[][] = [];
for (const [name, {name: task, test}] of tasks) {
  const file = join(OUTPUT, `${name}.safetensors`);
  const adapter = await loadAdapter(fileHandler(file));
  const begin = performance.now();
  setAdapter(model, adapter);
  const milliseconds = (performance.now() - begin).toFixed(1);
  const kilobytes = (statSync(file).size / 1000).toFixed(0);
  rows.push([task, percent(await accuracyOf(model, encoder, test)), kilobytes, milliseconds]);
}
const head = ['adapter', 'accuracy', 'file, kB', 'ms to switch'];
console.log(`\nOne encoder in memory, ${megabytes} MB, and an adapter for each task:\n\n${table([head, ...rows])}`);
if (QUICK) {
  console.log(`\n${SHORT}`);
}
