// How much memory training Qwen3-0.6B in 4 bits takes on wasm: a model of its shape from a GGUF file of random blocks,
// Q4_0 with a vocabulary in Q6_K as llama.cpp writes it. Each kind of step runs in a process of its own, since the heap
// of wasm never shrinks. With streamed weights the adapter has the same bits after three steps.
//
//     npm run bench -- qwen3-memory

import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdtempSync, openAsBlob, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF} from 'tfjs-lora/language';
import {BufferMeter, type Engine} from './bufferMeter';
import {VOCABULARY, writeRandomQwen3} from './qwen3File';

type Kind = 'tokens' | 'preferences';
const RUNS: readonly {kind: Kind; positions: number; gradientCheckpointing: boolean; isStreamed?: boolean}[] = [
  {kind: 'tokens', positions: 512, gradientCheckpointing: true, isStreamed: true},
  {kind: 'tokens', positions: 512, gradientCheckpointing: true},
  {kind: 'tokens', positions: 512, gradientCheckpointing: false},
  {kind: 'preferences', positions: 256, gradientCheckpointing: true},
];

/** Trains and prints a row of the table, and a hash of the adapter. */
async function measure(path: string, run: (typeof RUNS)[number]): Promise<void> {
  const {kind, positions, gradientCheckpointing, isStreamed = false} = run;
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const {model: base} = await loadGGUF(isStreamed ? path : await openAsBlob(path), {
    ...{gradientCheckpointing, tokenizer: false, weights: isStreamed ? 'streamed' : 'memory'},
  });
  const held = tf.memory().numBytes;
  const model = applyLoRA(base, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  const optimizer = adam({learningRate: 1e-4});
  const meter = new BufferMeter(tf.engine() as unknown as Engine);
  const losses: unknown[] = [];
  if (kind === 'tokens') {
    compileModel(model, {optimizer});
    const ids = tf.randomUniform([1, positions], 0, VOCABULARY, 'int32', 1);
    const inputs = [ids, tf.onesLike(ids)];
    for (let step = 0; step < 3; step++) {
      losses.push(await model.trainOnBatch(inputs, ids));
    }
  } else {
    compilePreferences(model, {method: 'dpo', optimizer});
    // Each character is a token.
    const tokenizer = {
      encode: (text: string) => ({ids: Array.from(text, each => each.codePointAt(0)!)}),
      decode: () => '',
    };
    const answers = {chosen: 'a'.repeat(positions / 2 + 1), rejected: 'b'.repeat(positions / 2 + 1)};
    const data = await encodePreferences(model, tokenizer, [{prompt: 'p'.repeat(positions / 2), ...answers}]);
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

const [path, run] = process.argv.slice(2);
if (path !== undefined) {
  await measure(path, RUNS[Number(run)]!);
} else {
  const folder = mkdtempSync(join(tmpdir(), 'qwen3-'));
  try {
    writeRandomQwen3(join(folder, 'model.gguf'), '0.6');
    console.log(
      '| a step | gradientCheckpointing | base, MB | peak of buffers, MB | heap of wasm, MB | process, MB | adapter |',
    );
    console.log('| --- | --- | ---: | ---: | ---: | ---: | --- |');
    const adapters: string[] = [];
    for (const i of RUNS.keys()) {
      const command = ['tsx', fileURLToPath(import.meta.url), join(folder, 'model.gguf'), String(i)];
      const row = execFileSync('npx', command, {encoding: 'utf8', stdio: ['inherit', 'pipe', 'inherit']});
      process.stdout.write(row);
      adapters.push(row.trimEnd().slice(-10));
      if (i === 1 && adapters[0] !== adapters[1]) {
        throw new Error('Steps with streamed weights change the adapter by other bits.');
      }
    }
  } finally {
    rmSync(folder, {recursive: true});
  }
}
