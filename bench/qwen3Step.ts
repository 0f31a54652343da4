// The process of `qwen3Memory.ts` that trains one model: `PATH RUN`, the run as JSON.

import {createHash} from 'node:crypto';
import {openAsBlob} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF} from 'tfjs-lora/language';
import {BufferMeter, type Engine} from './bufferMeter';
import {adapted, streamedRatios, takeSteps} from './streamed/inTurn';

/** What a process does. */
export interface Run {
  /** Steps on tokens or on preferences, whose memory is measured; or times of streamed ÷ in memory. */
  kind: 'tokens' | 'preferences' | 'times';
  positions: number;
  gradientCheckpointing: boolean;
  isStreamed?: boolean;
  /** Default: 3. */
  steps?: number;
}

/** Each character is a token. */
const CHARACTERS = {
  encode: (text: string) => ({ids: Array.from(text, each => each.codePointAt(0)!)}),
  decode: () => '',
};

const load = async (path: string, {isStreamed = false, gradientCheckpointing}: Run) => {
  const options = {gradientCheckpointing, tokenizer: false} as const;
  const {model} = await (isStreamed
    ? loadGGUF(path, {...options, weights: 'streamed'})
    : loadGGUF(await openAsBlob(path), options));
  return model;
};

/** Prints how long steps and tokens take with streamed weights. */
async function compareTimes(path: string, run: Run): Promise<void> {
  const bases = {inMemory: await load(path, run), streamed: await load(path, {...run, isStreamed: true})};
  const {positions} = run;
  const {step, token} = await streamedRatios(bases, {positions, clock: 'cpu', tokenizer: CHARACTERS});
  console.log(
    `\nStreamed ÷ in memory, medians by processor time: a step of 1 × ${positions} tokens ${step.toFixed(2)}, a token ` +
      `${token!.toFixed(2)}. The adapters have the same bits.`,
  );
}

/** Trains and prints a row of the table, and a hash of the adapter. */
async function measure(path: string, run: Run): Promise<void> {
  const {kind, positions, gradientCheckpointing, isStreamed = false, steps = 3} = run;
  const base = await load(path, run);
  const held = tf.memory().numBytes;
  const model = adapted(base);
  const meter = new BufferMeter(tf.engine() as unknown as Engine);
  const losses: unknown[] = [];
  if (kind === 'tokens') {
    losses.push(...(await takeSteps(model, positions, steps)));
  } else {
    compilePreferences(model, {method: 'dpo', optimizer: adam({learningRate: 1e-4})});
    const answers = {chosen: 'a'.repeat(positions / 2 + 1), rejected: 'b'.repeat(positions / 2 + 1)};
    const data = await encodePreferences(model, CHARACTERS, [{prompt: 'p'.repeat(positions / 2), ...answers}]);
    const {history} = await model.fitDataset(data, {epochs: 2, verbose: 0});
    losses.push(...(history.loss ?? []));
  }
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  const {wasm} = tf.backend() as unknown as {wasm: {HEAPU8: Uint8Array}};
  const tokens = kind === 'tokens' ? `1 × ${positions} tokens` : `one DPO pair, 2 × ${positions} tokens`;
  const rows = isStreamed ? `${tokens}, streamed` : tokens;
  const peak = 1024 * process.resourceUsage().maxRSS;
  const numbers = [held, held + meter.peak, wasm.HEAPU8.length, peak].map(megabytes);
  const hash = createHash('sha256');
  model.trainableWeights.forEach(weight => hash.update(weight.read().dataSync()));
  const adapter = hash.digest('hex').slice(0, 8);
  console.log(`| ${[rows, gradientCheckpointing ? 'yes' : 'no', ...numbers, adapter].join(' | ')} |`);
  if (!losses.every(loss => Number.isFinite(loss))) {
    throw new Error(`The losses are ${String(losses)}.`);
  }
}

const [path = '', order = ''] = process.argv.slice(2);
const run = JSON.parse(order) as Run;
await tf.setBackend('wasm');
tf.enableProdMode();
await (run.kind === 'times' ? compareTimes : measure)(path, run);
