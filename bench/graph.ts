// What a graph costs as a LayersModel: `npx tsx bench/graph.ts`. In one process: the plain graph before the library is loaded, which brings
// kernels of its own, then all others in turn. Time is that of the processor, so that other processes count little; medians of the rounds.

import {cpuUsage} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {nsfwMid} from '../scripts/graphModels/files';

const ROUNDS = 7;
const SIZE = 96;
const BATCH = 16;

tf.enableProdMode();
await tf.setBackend('wasm');

const handler = await nsfwMid();
const artifacts = await handler.load!();
const nodes = (artifacts.modelTopology as {node: {name: string; op: string; attr: {shape?: unknown}}[]}).node;
const input = nodes.find(({op}) => op === 'Placeholder')!;
// The graph is made for 224 pixels, and has no need to be.
input.attr.shape = {shape: {dim: [-1, SIZE, SIZE, 3].map(size => ({size: String(size)}))}};
const end = nodes.find(({name}) => name.endsWith('MobilenetV2/Conv_1/Relu6'))!.name;
const graph = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
const x = tf.randomUniform([BATCH, SIZE, SIZE, 3], 0, 1, 'float32', 1);

const predictGraph = () => spend(graph.execute({[input.name]: x}, end) as tf.Tensor);
const plain = await median([predictGraph]);

const {applyLoRA, replaceHead} = await import('tfjs-lora');
const {fromGraphModel} = await import('tfjs-lora/graph');
const base = await fromGraphModel(graph, {outputs: [end]});
const at = base.layers.at(-1)!.name;
const {layers} = tf;
const headed = replaceHead(base, [layers.globalAveragePooling2d({name: 'pool'}), layers.dense({units: 5, name: 'classes'})], {at}); // prettier-ignore
const pointwise = headed.layers.filter(layer => {
  const {kernelSize} = layer as unknown as {kernelSize?: number[]};
  return layer.getClassName().endsWith('Conv2D') && !layer.getClassName().includes('Depthwise') && kernelSize?.every(size => size === 1);
}); // prettier-ignore
const y = tf.oneHot(tf.tensor1d(Array.from({length: BATCH}, (_, i) => i % 5), 'int32'), 5); // prettier-ignore
const stepOf = (names: string[]) => {
  const model = applyLoRA(headed, {rank: 4, seed: 1, targets: names});
  model.compile({optimizer: tf.train.adam(1e-4), loss: 'meanSquaredError'});
  return async () => {
    await model.trainOnBatch(x, y);
  };
};
const names = pointwise.map(({name}) => name);
const [library, imported, all, late] = await medians([
  predictGraph,
  () => spend(base.predict(x) as tf.Tensor),
  stepOf(names),
  stepOf(names.slice(-9)),
]);

console.log(
  `Graph, ${SIZE} px, batch ${BATCH}: ${plain.toFixed(0)} ms before the library is loaded, ${library!.toFixed(0)} ms after.`,
);
const ratio = (ms: number) => `${(ms / plain).toFixed(2)} × (${(ms / library!).toFixed(2)} ×)`;
console.log(`imported predict: ${ratio(imported!)}`);
console.log(`LoRA step, rank 4 on ${names.length} 1×1 convolutions: ${ratio(all!)}`);
console.log(`LoRA step, the last 9 of them: ${ratio(late!)}`);

function spend(result: tf.Tensor): Promise<void> {
  result.dataSync();
  result.dispose();
  return Promise.resolve();
}

async function median(runs: (() => Promise<void>)[]): Promise<number> {
  const [only] = await medians(runs);
  return only!;
}

/** The median time of each, the runs taken in turn. */
async function medians(runs: (() => Promise<void>)[]): Promise<number[]> {
  const times: number[][] = runs.map(() => []);
  for (let round = 0; round < ROUNDS + 2; round++) {
    for (const [i, run] of runs.entries()) {
      const start = cpuUsage();
      await run();
      const {user, system} = cpuUsage(start);
      if (round >= 2) {
        times[i]!.push((user + system) / 1000);
      }
    }
  }
  return times.map(list => list.sort((a, b) => a - b)[ROUNDS >> 1]!);
}
