/**
 * Teaches a small language model, quantized as it was downloaded, to turn spoken orders into kitchen tickets.
 *
 *     npm run example -- language
 *     npm run example -- language --quick    24 orders in four epochs
 */
import {openAsBlob, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, fileHandler, progress, saveAdapter, startWasm, summarizeLoRA} from 'tfjs-lora';
import {encodeChats, exportGGUF, generateTexts, loadGGUF} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {percent, SHORT, table} from '../shared/report';
import {isTicket, makeOrders} from './orders';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
tf.enableProdMode();

// 1. Orders such as "Table four wants two teas." and their tickets, `T4 | 2 TEA`. The format is made up.
const {train, test} = makeOrders(QUICK ? {train: 24, test: 8} : {train: 240, test: 24});
const prompts = test.map(({prompt}) => prompt);
console.log(`${train.length} orders to train on, ${test.length} held out`);

// 2. A language model in 4 bits, as it was downloaded, with low-rank factors on its queries and values. Only these train.
const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
const model = applyLoRA(base, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed: SEED});

// 3. What the model answers now.
const answers = () => generateTexts(model, tokenizer, prompts, {maxTokens: 24, stop: ['\n']});
const before = await answers();

// 4. The loss covers the tickets alone, each with the token that ends it.
compileModel(model, {optimizer: adamW({learningRate: 2e-3})});
const data = await encodeChats(model, tokenizer, train, {batchSize: 4, maxLength: 64, seed: SEED});
await model.fitDataset(data, {epochs: QUICK ? 4 : 1, verbose: 0, callbacks: progress({label: 'tickets'})});

// 5. The answers to the same orders.
const after = await answers();
test.slice(0, 3).forEach(({prompt}, i) => {
  const [first, second] = [before, after].map(texts => JSON.stringify(texts[i]!.trim()));
  console.log(`\n${prompt}\n  before: ${first}\n  after:  ${second}`);
});
const row = (name: string, texts: string[]) => {
  const correct = texts.filter((text, i) => text === test[i]!.completion);
  return [name, ...[texts.filter(isTicket), correct].map(({length}) => percent(length / texts.length))];
};
console.log(`\n${table([['', 'in the format', 'correct'], row('before', before), row('after', after)])}`);

// 6. The adapter is a small file, also for llama.cpp.
await saveAdapter(model, fileHandler(join(OUTPUT, 'tickets.safetensors')));
writeFileSync(join(OUTPUT, 'tickets.gguf'), await exportGGUF(model));
const {trainableParameters} = summarizeLoRA(model);
const kilobytes = (statSync(join(OUTPUT, 'tickets.safetensors')).size / 1000).toFixed(0);
console.log(`\n${trainableParameters.toLocaleString('en')} parameters trained; the adapter is ${kilobytes} kB.`);
if (QUICK) {
  console.log(`\n${SHORT}`);
}
