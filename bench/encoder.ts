// A LoRA step of a pretrained model beside that of PyTorch with PEFT, in one run:
//
//     npm run bench -- encoder [--model minilm|vit|resnet50|swin-t|modernbert|qwen3|smollm2]
//       [--backend wasm|tensorflow] [--threads 1] [--clock cpu|wall] [--rounds 7]
//       [--relaxed] [--checkpoint] [--memory] [--where]
//
// Transformers have rank 8 on queries and values, and ResNet-50 on all convolutions. The first model is
// all-MiniLM-L6-v2, the last SmolLM2-135M on its blocks of 4 bits, which PyTorch has as floats of 32 bits. The others
// have random numbers in the shape of ViT-S/16, ResNet-50, Swin-T, ModernBERT-base cut to six blocks, and Qwen3-0.6B
// cut to two, which the peers write into a folder of their own. `--memory` compares the peak memory of a step with that
// of full fine-tuning instead, and `--where` shows where a step spends its time.

import {spawn} from 'node:child_process';
import {openAsBlob} from 'node:fs';
import {createInterface} from 'node:readline';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, type LoRAConfig, trainableVariables} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';
import {minilm, smollm2} from '../scripts/pretrained';
import {type Backend, useBackend} from './backend';
import {footprint} from './footprint';
import {processor} from './machine';
import {summarize} from './measure';
import {MODELS as SCRIPT, requirePeers, shapeFolder} from './peers/models';
import {useRelaxed} from './relaxed';
import {step} from './runs';
import {printTable} from './table';
import {printKernels} from './where';

const {values} = parseArgs({
  options: {
    model: {type: 'string', default: 'minilm'},
    backend: {type: 'string', default: 'wasm'},
    threads: {type: 'string', default: '1'},
    clock: {type: 'string', default: 'wall'},
    rounds: {type: 'string', default: '7'},
    checkpoint: {type: 'boolean', default: false},
    relaxed: {type: 'boolean', default: false},
    memory: {type: 'boolean', default: false},
    where: {type: 'boolean', default: false},
  },
});
const clock = values.clock === 'cpu' ? 'cpu' : 'wall';

/** A model that is loaded from a folder with its files, or from its file, and how it is trained. */
interface Adaptable {
  load: (place: string) => Promise<tf.LayersModel>;
  config: LoRAConfig;
  batch: () => {xs: tf.Tensor | tf.Tensor[]; ys: tf.Tensor};
}

const classes = (batch: number) => tf.tensor1d(Array.from({length: batch}, (_, i) => i % 2));
const texts = (batch: number, positions: number) => [
  tf.randomUniform([batch, positions], 1000, 20_000, 'int32', 1),
  tf.ones([batch, positions], 'int32'),
];
const images = (batch: number, edge: number) => ({
  xs: tf.randomUniform([batch, edge, edge, 3], 0, 1, 'float32', 1),
  ys: classes(batch),
});
const nextTokens = (batch: number, positions: number) => ({
  xs: texts(batch, positions),
  ys: tf.randomUniform([batch, positions], 1000, 20_000, 'int32', 2),
});
const gradientCheckpointing = values.checkpoint;
const load = async (folder: string) => (await loadTransformer(folder, {gradientCheckpointing})).model;

const MODELS: Record<string, Adaptable> = {
  minilm: {
    load: async folder => {
      const {model: body} = await loadTransformer(folder, {pooling: 'mean', gradientCheckpointing});
      const head = tf.layers.dense({units: 2, name: 'head'});
      return tf.model({inputs: body.inputs, outputs: head.apply(body.outputs[0]!) as tf.SymbolicTensor});
    },
    config: {rank: 8, targets: [/self\/(query|value)$/], trainInFull: ['head']},
    batch: () => ({xs: texts(16, 64), ys: classes(16)}),
  },
  vit: {load, config: {rank: 8, targets: [/(query|value|q_proj|v_proj)$/]}, batch: () => images(4, 224)},
  resnet50: {
    load,
    config: {rank: 8, targets: [/convolution$/], trainInFull: [/^classifier/]},
    batch: () => images(8, 160),
  },
  'swin-t': {load, config: {rank: 8, targets: [/(q_proj|v_proj)$/]}, batch: () => images(8, 224)},
  modernbert: {
    load,
    config: {rank: 8, targets: [/Wqkv$/]},
    batch: () => ({xs: texts(4, 128), ys: classes(4)}),
  },
  qwen3: {load, config: {rank: 8, targets: [/(q_proj|v_proj)$/]}, batch: () => nextTokens(1, 128)},
  smollm2: {
    load: async file => (await loadGGUF(await openAsBlob(file), {gradientCheckpointing})).model,
    config: {rank: 8, targets: [/(q_proj|v_proj)$/]},
    batch: () => nextTokens(4, 128),
  },
};

/** Where the files of a model are. */
async function placeOf(model: string): Promise<string> {
  if (model === 'minilm') {
    return (await minilm()).folder;
  }
  if (model === 'smollm2') {
    return smollm2();
  }
  return shapeFolder(model);
}

const name = values.model;
const adaptable = MODELS[name];
if (adaptable === undefined) {
  throw new Error(`There is no model "${name}": ${Object.keys(MODELS).join(', ')}.`);
}
const python = requirePeers();
await useBackend(values.backend as Backend, Number(values.threads));
if (values.relaxed) {
  useRelaxed();
}
const place = await placeOf(name);
const peer = spawn(python, [SCRIPT, name, place], {stdio: ['pipe', 'pipe', 'ignore']});
const lines = createInterface(peer.stdout)[Symbol.asyncIterator]();
const answer = async () => JSON.parse((await lines.next()).value as string) as Record<string, number | string>;
const hello = await answer(); // the folder has its files by now
const makeOptimizer = () => adam({learningRate: 1e-4});

if (values.memory) {
  peer.stdin.end();
  const rows: string[][] = [];
  for (const isAdapted of [true, false]) {
    const {bufferBytes} = await footprint(adaptable.batch, async () => {
      const base = await adaptable.load(place);
      const model = isAdapted ? applyLoRA(base, adaptable.config) : base;
      const optimizer = makeOptimizer();
      compileModel(model, {optimizer});
      return {model, optimizer, dispose: () => new Set([model, base]).forEach(disposeModel)};
    });
    rows.push([isAdapted ? 'LoRA step' : 'full fine-tuning', (bufferBytes / 1e6).toFixed(0)]);
  }
  printTable([name, 'peak MB'], rows);
  process.exit();
}

const base = await adaptable.load(place);
const {xs, ys} = adaptable.batch();
const batch = ys.shape[0];
const model = applyLoRA(base, adaptable.config);
const trains = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
if (trains !== hello.trainable) {
  throw new Error(`${trains} numbers train here, and ${hello.trainable as number} there.`);
}
compileModel(model, {optimizer: makeOptimizer()});

if (values.where) {
  peer.stdin.end();
  await printKernels(name, step(model, {xs, ys}), {clock, steps: 3, top: 40, by: 'shapes'});
  process.exit();
}

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

const ours = samples.get('LoRA step')!;
printTable(
  ['', `ms (${clock})`, 'LoRA step ÷ this'],
  [...samples].map(([name, times]) => [
    name,
    summarize(times)!.median.toFixed(0),
    summarize(times.map((time, i) => ours[i]! / time))!.median.toFixed(2),
  ]),
);
console.log(
  `\n${name} on ${values.backend}, ${values.threads} thread(s), PyTorch ${hello.torch as string}, PEFT ` +
    `${hello.peft as string}, ${processor()}; medians of ${values.rounds} rounds`,
);
