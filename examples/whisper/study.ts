/**
 * Measures the adapter that the example has trained: word errors in 24 sentences with names and in 16 others, all of
 * them other sentences by other voices than it was trained on, and the share of names that are right.
 *
 *     npm run study -- whisper
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadAdapter, startWasm} from 'tfjs-lora';
import {wordErrorRate} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {whisperTiny} from '../../scripts/whisper';
import {percent, table} from '../shared/report';
import {heard, plain} from './hear';
import {NAMES, TEST} from './sentences';

await startWasm();
tf.enableProdMode();
const adapter = await loadAdapter(`file://${fileURLToPath(new URL('output/adapter', import.meta.url))}`);
const {model: whisper, tokenizer} = await loadTransformer(whisperTiny());
const before = await measure(whisper);
const after = await measure(applyLoRA(whisper, adapter));
const names = ['word errors, with names', 'names found', 'word errors, without names'];
const rows = names.map((name, i) => [name, percent(before[i]!), percent(after[i]!)]);
console.log(`\n${table([['', 'before', 'after'], ...rows])}`);

/** Shares of word errors and of names. */
async function measure(model: tf.LayersModel): Promise<[withNames: number, found: number, ordinary: number]> {
  const ofNames = await heard(model, tokenizer, TEST.named, 1000);
  const ofOrdinary = await heard(model, tokenizer, TEST.ordinary, 2000);
  const right = TEST.named.filter((text, i) => {
    const name = NAMES.find(each => text.includes(each))!;
    return ofNames[i]!.split(' ').includes(plain(name));
  });
  return [
    wordErrorRate(TEST.named.map(plain), ofNames),
    right.length / TEST.named.length,
    wordErrorRate(TEST.ordinary.map(plain), ofOrdinary),
  ];
}
