// A LoRA step of all-MiniLM-L6-v2 (batch 16, 64 tokens, rank 8 on queries and values) beside that of PyTorch with PEFT,
// in one run:
//
//     npm run bench -- encoder [--backend wasm|tensorflow] [--threads 1] [--clock cpu|wall] [--rounds 7] [--relaxed]

import {spawn} from 'node:child_process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA} from 'tfjs-lora';
import {compileCrossEntropy, loadTransformer} from 'tfjs-lora/transformers';
import {minilm} from '../scripts/pretrained';
import {type Backend, useBackend} from './backend';
import {useRelaxed} from './relaxed';
import {printTable} from './table';

const BATCH = 16;
const PLACES = 64;
const PEERS = process.env.TFJS_LORA_PEERS ?? fileURLToPath(new URL('peers/.venv', import.meta.url));

const {values} = parseArgs({
  options: {
    backend: {type: 'string', default: 'wasm'},
    threads: {type: 'string', default: '1'},
    clock: {type: 'string', default: 'wall'},
    rounds: {type: 'string', default: '7'},
    checkpoint: {type: 'boolean', default: false},
    relaxed: {type: 'boolean', default: false},
  },
});
const clock = values.clock === 'cpu' ? 'cpu' : 'wall';

await useBackend(values.backend as Backend);
if (values.relaxed) {
  useRelaxed();
}
const {config, weights, folder} = await minilm();

const body = await loadTransformer({config, weights, pooling: 'mean', checkpoint: values.checkpoint});
const head = tf.layers.dense({units: 2, name: 'head'});
const base = tf.model({inputs: body.inputs, outputs: head.apply(body.outputs[0]!) as tf.SymbolicTensor});
const model = applyLoRA(base, {
  rank: 8,
  targets: ['query', 'value'].map(part => new RegExp(`self/${part}$`)),
  trainable: ['head'],
});
compileCrossEntropy(model, {optimizer: adam({learningRate: 1e-4})});
const ids = tf.randomUniform([BATCH, PLACES], 1000, 20_000, 'int32', 1);
const mask = tf.ones([BATCH, PLACES], 'int32');
const labels = tf.tensor1d(Array.from({length: BATCH}, (_, i) => i % 2));

async function predict(of: tf.LayersModel): Promise<void> {
  const y = of.predict([ids, mask], {batchSize: BATCH}) as tf.Tensor;
  await y.data();
  y.dispose();
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const [wall, cpu] = [performance.now(), process.cpuUsage()];
  await run();
  const {user, system} = process.cpuUsage(cpu);
  return clock === 'cpu' ? (user + system) / 1e3 : performance.now() - wall;
}

const peer = spawn(`${PEERS}/bin/python`, [fileURLToPath(new URL('peers/minilm.py', import.meta.url)), folder], {
  stdio: ['pipe', 'pipe', 'ignore'],
});
const lines = createInterface(peer.stdout)[Symbol.asyncIterator]();
const answer = async () => JSON.parse((await lines.next()).value as string) as Record<string, number | string>;
const versions = await answer();
async function ofPeer(run: string): Promise<number> {
  peer.stdin.write(`${JSON.stringify({run, threads: Number(values.threads)})}\n`);
  return (await answer())[clock] as number;
}

const runs: Record<string, () => Promise<number>> = {
  'LoRA step': () => timed(() => model.trainOnBatch([ids, mask], labels)),
  predict: () => timed(() => predict(base)),
  'predict, adapted': () => timed(() => predict(model)),
  'PyTorch + PEFT, LoRA step': () => ofPeer('lora'),
  'PyTorch, forward': () => ofPeer('forward'),
};
const samples = new Map<string, number[]>(Object.keys(runs).map(name => [name, []]));
for (let round = -1; round < Number(values.rounds); round++) {
  for (const [name, run] of Object.entries(runs)) {
    const time = await run();
    if (round >= 0) {
      samples.get(name)!.push(time);
    }
  }
}
peer.stdin.end();

const median = (numbers: number[]) => [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)]!;
const step = samples.get('LoRA step')!;
printTable(
  ['', `ms (${clock})`, 'LoRA step ÷ this'],
  [...samples].map(([name, times]) => [
    name,
    median(times).toFixed(0),
    median(times.map((time, i) => step[i]! / time)).toFixed(2),
  ]),
);
console.log(
  `\n${values.backend}, ${values.threads} thread(s) for PyTorch ${versions.torch as string}, PEFT ` +
    `${versions.peft as string}; medians of ${values.rounds} rounds`,
);
