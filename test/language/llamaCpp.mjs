// What llama.cpp computes of a GGUF file, with adapters beside it or not, for `checkLlamaCpp.ts`:
//
//     node llamaCpp.mjs FOLDER JOB.json
//
// FOLDER has `node-llama-cpp`. A job is `{base, ids, results: {FILE: ADAPTER or null}}`: of each place the logits of all
// words, as 32-bit floats.

import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const [folder, job] = process.argv.slice(2);
const {base, ids, results} = JSON.parse(readFileSync(job, 'utf8'));
const {getLlama} = await import(pathToFileURL(join(folder, 'node_modules/node-llama-cpp/dist/index.js')).href);
const llama = await getLlama({gpu: false, build: 'never', skipDownload: true, progressLogs: false, logLevel: 'warn'});
for (const [file, adapter] of Object.entries(results)) {
  const model = await llama.loadModel({modelPath: base});
  const lora = adapter === null ? {} : {lora: adapter};
  const context = await model.createContext({contextSize: 128, threads: 1, flashAttention: false, ...lora});
  const given = ids.map(id => [id, {generateNext: {logits: true}}]);
  const places = await context.getSequence().controlledEvaluate(given);
  const numbers = places.map(({next: {logits}}) => Float32Array.from({length: logits.size}, (_, id) => logits.get(id)));
  writeFileSync(file, Buffer.concat(numbers.map(({buffer}) => Buffer.from(buffer))));
  await context.dispose();
  await model.dispose();
}
await llama.dispose();
