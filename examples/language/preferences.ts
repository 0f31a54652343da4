/**
 * Teaches a small language model, in 4 bits, which of two answers is preferred: the short one.
 *
 *     npm run example -- preferences
 *     npm run example -- preferences --quick    fewer pairs
 */
import {openAsBlob} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, fileHandler, progress, saveAdapter, startWasm} from 'tfjs-lora';
import {compilePreferences, encodeChats, encodePreferences, generateTexts, loadGGUF} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {countWords} from '../rewards/rules';
import {mean, percent, SHORT, table} from '../shared/report';
import {asked, BATCHES, isShort, makePairs, mixedAnswers} from './pairs';

const SEED = 1;
const QUICK = process.argv.includes('--quick');
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
tf.enableProdMode();

// 1. Questions with a short and a long answer. Both are correct, and the short one is preferred.
const {train, test} = makePairs(QUICK ? {train: 24, test: 8} : {train: 56, test: 20});
console.log(`${train.length} pairs to train on, ${test.length} held out`);

// 2. A language model in 4 bits, as it was downloaded, with low-rank factors on its queries and values. Only these train.
const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
const model = applyLoRA(base, {rank: 8, alpha: 16, targets: [/[qv]_proj$/], seed: SEED});
const answers = () => generateTexts(model, tokenizer, ...asked(test));
const before = await answers();

// 3. Fine-tuning on answers as a log may have them: half of them are short, and half are long.
compileModel(model, {optimizer: adamW({learningRate: 1e-3})});
const log = await encodeChats(model, tokenizer, mixedAnswers(train), {...BATCHES, seed: SEED});
await model.fitDataset(log, {epochs: 1, verbose: 0, callbacks: progress({label: 'SFT'})});
const tuned = await answers();

// 4. Preferences, with DPO. The reference is the model as it is now; its log-probabilities are computed once.
const pairs = await encodePreferences(model, tokenizer, train, {...BATCHES, seed: SEED});
compilePreferences(model, {method: 'dpo', beta: 0.1, optimizer: adamW({learningRate: 3e-4})});
await model.fitDataset(pairs, {epochs: QUICK ? 2 : 1, verbose: 0, callbacks: progress({label: 'DPO'})});
const preferred = await answers();

// 5. The answers to the same questions. The rule: one sentence of at most eight words that does not begin "A fox is".
const stages = {base: before, 'after SFT': tuned, 'then DPO': preferred};
test.slice(0, 3).forEach(({prompt}, i) => {
  const texts = Object.entries(stages).map(([stage, all]) => `  ${stage}: ${JSON.stringify(all[i]!.trim())}`);
  console.log(`\n${prompt}\n${texts.join('\n')}`);
});
const rows = Object.entries(stages).map(([stage, texts]) => [
  stage,
  percent(texts.filter(isShort).length / texts.length),
  mean(texts.map(countWords)).toFixed(1),
]);
console.log(`\n${table([['', 'follow the rule', 'words'], ...rows])}`);

// 6. The adapter is a small file.
await saveAdapter(model, fileHandler(join(OUTPUT, 'preferences.safetensors')));
if (QUICK) {
  console.log(`\n${SHORT}`);
}
