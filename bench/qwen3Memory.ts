// How much memory training Qwen3-0.6B in 4 bits takes on wasm: a model of its shape from a GGUF file of random blocks,
// Q4_0 with a vocabulary in Q6_K as llama.cpp writes it. Each kind of step runs in a process of its own, since the heap
// of wasm never shrinks.
//
//     npm run bench -- qwen3-memory

import {execFileSync} from 'node:child_process';
import {mkdtempSync, openAsBlob, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {compilePreferences, encodePreferences, loadGGUF} from 'tfjs-lora/language';
import {builtGGUF} from '../test/extensions/language/ggufFiles';
import {BufferMeter, type Engine} from './bufferMeter';

const [LAYERS, WIDTH, HEADS, KEY_HEADS, HEAD_SIZE, WIDE, VOCABULARY] = [28, 1024, 16, 8, 128, 3072, 151_936];
/** A block of each format: its type in files, values, bytes, and where it has a scale, in half precision. */
const BLOCK = {
  q4: {type: 2, values: 32, bytes: 18, scaleAt: 0, scale: 0x1c00}, // 2⁻⁸
  q6: {type: 14, values: 256, bytes: 210, scaleAt: 208, scale: 0x0100}, // 2⁻¹⁶
};

type Kind = 'tokens' | 'preferences';
const RUNS: readonly {kind: Kind; positions: number; gradientCheckpointing: boolean}[] = [
  {kind: 'tokens', positions: 512, gradientCheckpointing: true},
  {kind: 'tokens', positions: 512, gradientCheckpointing: false},
  {kind: 'preferences', positions: 256, gradientCheckpointing: true},
];

/** A file of the shape. Its values are drawn as wide as those of a trained model, so that nothing overflows. */
function randomFile(): Uint8Array<ArrayBuffer> {
  let state = 1;
  const blocks = (name: string, rows: number, width: number, of: keyof typeof BLOCK = 'q4') => {
    const {type, values, bytes, scaleAt, scale} = BLOCK[of];
    const data = new Uint8Array((rows * width * bytes) / values);
    const words = new Uint32Array(data.buffer, 0, data.length >> 2);
    words.forEach((_, i) => (words[i] = state = (Math.imul(state, 1_664_525) + 1_013_904_223) ^ (state >>> 15)));
    for (let at = scaleAt; at < data.length; at += bytes) {
      [data[at], data[at + 1]] = [scale & 255, scale >> 8];
    }
    return {name: `${name}.weight`, shape: [rows, width], type, data};
  };
  const ones = (name: string, width: number) => ({
    ...{name: `${name}.weight`, shape: [width], type: 0},
    data: new Float32Array(width).fill(1),
  });
  const block = (i: number) => [
    ones(`blk.${i}.attn_norm`, WIDTH),
    blocks(`blk.${i}.attn_q`, HEADS * HEAD_SIZE, WIDTH),
    blocks(`blk.${i}.attn_k`, KEY_HEADS * HEAD_SIZE, WIDTH),
    blocks(`blk.${i}.attn_v`, KEY_HEADS * HEAD_SIZE, WIDTH),
    ones(`blk.${i}.attn_q_norm`, HEAD_SIZE),
    ones(`blk.${i}.attn_k_norm`, HEAD_SIZE),
    blocks(`blk.${i}.attn_output`, WIDTH, HEADS * HEAD_SIZE),
    ones(`blk.${i}.ffn_norm`, WIDTH),
    blocks(`blk.${i}.ffn_gate`, WIDE, WIDTH),
    blocks(`blk.${i}.ffn_up`, WIDE, WIDTH),
    blocks(`blk.${i}.ffn_down`, WIDTH, WIDE),
  ];
  const settings = {
    ...{block_count: LAYERS, embedding_length: WIDTH, feed_forward_length: WIDE, context_length: 40_960},
    ...{'attention.head_count': HEADS, 'attention.head_count_kv': KEY_HEADS},
    ...{'attention.key_length': HEAD_SIZE, 'attention.value_length': HEAD_SIZE},
    'attention.layer_norm_rms_epsilon': {float32: 1e-6},
    'rope.freq_base': {float32: 1e6},
  };
  return builtGGUF({
    pairs: {
      'general.architecture': 'qwen3',
      ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [`qwen3.${name}`, value])),
    },
    tensors: [
      blocks('token_embd', VOCABULARY, WIDTH, 'q6'),
      ...Array.from({length: LAYERS}, (_, i) => block(i)).flat(),
      ones('output_norm', WIDTH),
    ],
  });
}

/** Trains two steps and prints a row of the table. */
async function measure(path: string, {kind, positions, gradientCheckpointing}: (typeof RUNS)[number]): Promise<void> {
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const {model: base} = await loadGGUF(await openAsBlob(path), {gradientCheckpointing, tokenizer: false});
  const held = tf.memory().numBytes;
  const model = applyLoRA(base, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  const optimizer = adam({learningRate: 1e-4});
  const meter = new BufferMeter(tf.engine() as unknown as Engine);
  const losses: unknown[] = [];
  if (kind === 'tokens') {
    compileModel(model, {optimizer});
    const ids = tf.randomUniform([1, positions], 0, VOCABULARY, 'int32', 1);
    const inputs = [ids, tf.onesLike(ids)];
    losses.push(await model.trainOnBatch(inputs, ids), await model.trainOnBatch(inputs, ids));
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
  const rows = kind === 'tokens' ? `1 × ${positions} tokens` : `one DPO pair, 2 × ${positions} tokens`;
  const peak = 1024 * process.resourceUsage().maxRSS;
  const numbers = [held, held + meter.peak, wasm.HEAPU8.length, peak].map(megabytes);
  console.log(`| ${[rows, gradientCheckpointing ? 'yes' : 'no', ...numbers].join(' | ')} |`);
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
    writeFileSync(join(folder, 'model.gguf'), randomFile());
    console.log('| a step | gradientCheckpointing | base, MB | peak of buffers, MB | heap of wasm, MB | process, MB |');
    console.log('| --- | --- | ---: | ---: | ---: | ---: |');
    for (const i of RUNS.keys()) {
      const command = ['tsx', fileURLToPath(import.meta.url), join(folder, 'model.gguf'), String(i)];
      execFileSync('npx', command, {stdio: 'inherit'});
    }
  } finally {
    rmSync(folder, {recursive: true});
  }
}
