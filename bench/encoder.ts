// A LoRA step of a transformer (rank 8 on queries and values) beside that of PyTorch with PEFT, in one run:
//
//     npm run bench -- encoder [--model minilm|vit|modernbert|qwen3|smollm2] [--backend wasm|tensorflow]
//       [--threads 1] [--clock cpu|wall] [--rounds 7] [--relaxed]
//
// The first is all-MiniLM-L6-v2, the last SmolLM2-135M on its blocks of 4 bits, which PyTorch has as floats of 32 bits.
// The others have random numbers in the shape of ViT-S/16, of ModernBERT-base cut to six blocks, and of Qwen3-0.6B cut
// to two, which the peers write into a folder of their own.

import {spawn} from 'node:child_process';
import {mkdirSync, openAsBlob} from 'node:fs';
import {homedir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, type LoRAConfig, trainableVariables} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {compileModel, loadTransformer} from 'tfjs-lora/transformers';
import {minilm, smollm2} from '../scripts/pretrained';
import {type Backend, useBackend} from './backend';
import {processor} from './machine';
import {summarize} from './measure';
import {useRelaxed} from './relaxed';
import {printTable} from './table';

const PEERS = process.env.TFJS_LORA_PEERS ?? fileURLToPath(new URL('peers/.venv', import.meta.url));

const {values} = parseArgs({
  options: {
    model: {type: 'string', default: 'minilm'},
    backend: {type: 'string', default: 'wasm'},
    threads: {type: 'string', default: '1'},
    clock: {type: 'string', default: 'wall'},
    rounds: {type: 'string', default: '7'},
    checkpoint: {type: 'boolean', default: false},
    relaxed: {type: 'boolean', default: false},
  },
});
const clock = values.clock === 'cpu' ? 'cpu' : 'wall';

/** A model that is ready to adapt, what it is given, and what it should answer. */
interface Ready {
  base: tf.LayersModel;
  config: LoRAConfig;
  xs: tf.Tensor | tf.Tensor[];
  ys: tf.Tensor;
}

const classes = (batch: number) => tf.tensor1d(Array.from({length: batch}, (_, i) => i % 2));
const texts = (batch: number, positions: number) => [
  tf.randomUniform([batch, positions], 1000, 20_000, 'int32', 1),
  tf.ones([batch, positions], 'int32'),
];
const {checkpoint} = values;

/** Each model, from the folder with its files, or its file. */
const MODELS: Record<string, (place: string) => Promise<Ready>> = {
  minilm: async folder => {
    const {model: body} = await loadTransformer(folder, {pooling: 'mean', gradientCheckpointing: checkpoint});
    const head = tf.layers.dense({units: 2, name: 'head'});
    return {
      base: tf.model({inputs: body.inputs, outputs: head.apply(body.outputs[0]!) as tf.SymbolicTensor}),
      config: {rank: 8, targets: [/self\/(query|value)$/], trainInFull: ['head']},
      xs: texts(16, 64),
      ys: classes(16),
    };
  },
  vit: async folder => ({
    base: (await loadTransformer(folder, {gradientCheckpointing: checkpoint})).model,
    config: {rank: 8, targets: [/(query|value|q_proj|v_proj)$/]},
    xs: tf.randomUniform([4, 224, 224, 3], 0, 1, 'float32', 1),
    ys: classes(4),
  }),
  modernbert: async folder => ({
    base: (await loadTransformer(folder, {gradientCheckpointing: checkpoint})).model,
    config: {rank: 8, targets: [/Wqkv$/]},
    xs: texts(4, 128),
    ys: classes(4),
  }),
  qwen3: async folder => ({
    base: (await loadTransformer(folder, {gradientCheckpointing: checkpoint})).model,
    config: {rank: 8, targets: [/(q_proj|v_proj)$/]},
    xs: texts(1, 128),
    ys: tf.randomUniform([1, 128], 1000, 20_000, 'int32', 2),
  }),
  smollm2: async file => ({
    base: (await loadGGUF(await openAsBlob(file), {gradientCheckpointing: checkpoint})).model,
    config: {rank: 8, targets: [/(q_proj|v_proj)$/]},
    xs: texts(4, 128),
    ys: tf.randomUniform([4, 128], 1000, 20_000, 'int32', 2),
  }),
};

/** Where the files of a model are. */
async function placeOf(model: string): Promise<string> {
  if (model === 'minilm') {
    return (await minilm()).folder;
  }
  if (model === 'smollm2') {
    return smollm2();
  }
  const folder = join(homedir(), '.cache/tfjs-lora/shapes', model);
  mkdirSync(folder, {recursive: true});
  return folder;
}

const name = values.model;
const make = MODELS[name];
if (make === undefined) {
  throw new Error(`There is no model "${name}": ${Object.keys(MODELS).join(', ')}.`);
}
await useBackend(values.backend as Backend, Number(values.threads));
if (values.relaxed) {
  useRelaxed();
}
const place = await placeOf(name);
const peer = spawn(`${PEERS}/bin/python`, [fileURLToPath(new URL('peers/models.py', import.meta.url)), name, place], {
  stdio: ['pipe', 'pipe', 'ignore'],
});
const lines = createInterface(peer.stdout)[Symbol.asyncIterator]();
const answer = async () => JSON.parse((await lines.next()).value as string) as Record<string, number | string>;
const hello = await answer();

const {base, config, xs, ys} = await make(place);
const batch = ys.shape[0];
const model = applyLoRA(base, config);
const trains = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
if (trains !== hello.trainable) {
  throw new Error(`${trains} numbers train here, and ${hello.trainable as number} there.`);
}
compileModel(model, {optimizer: adam({learningRate: 1e-4})});

async function predict(of: tf.LayersModel): Promise<void> {
  const y = of.predict(xs, {batchSize: batch}) as tf.Tensor;
  await y.data();
  y.dispose();
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const [wall, cpu] = [performance.now(), process.cpuUsage()];
  await run();
  const {user, system} = process.cpuUsage(cpu);
  return clock === 'cpu' ? (user + system) / 1e3 : performance.now() - wall;
}

async function ofPeer(run: string): Promise<number> {
  peer.stdin.write(`${JSON.stringify({run, threads: Number(values.threads)})}\n`);
  return (await answer())[clock] as number;
}

const runs: Record<string, () => Promise<number>> = {
  'LoRA step': () => timed(() => model.trainOnBatch(xs, ys)),
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

const step = samples.get('LoRA step')!;
printTable(
  ['', `ms (${clock})`, 'LoRA step ÷ this'],
  [...samples].map(([name, times]) => [
    name,
    summarize(times)!.median.toFixed(0),
    summarize(times.map((time, i) => step[i]! / time))!.median.toFixed(2),
  ]),
);
console.log(
  `\n${name} on ${values.backend}, ${values.threads} thread(s), PyTorch ${hello.torch as string}, PEFT ` +
    `${hello.peft as string}, ${processor()}; medians of ${values.rounds} rounds`,
);
