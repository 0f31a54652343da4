// What a graph costs as a LayersModel: `npm run bench -- graph`, or where that goes: `… graph where`. With `relaxed`
// training uses relaxed SIMD. In one process: the plain graph before the library is loaded, which brings kernels of its
// own, then all others in turn. Time is that of the processor, so that other processes count little; medians of the
// rounds.

import {argv, cpuUsage} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {nsfwMid} from '../scripts/graphModels/files';
import type {Run} from './measure';

const ROUNDS = 7;
const SIZE = 96;
const BATCH = 16;

tf.enableProdMode();
await tf.setBackend('wasm');

const graph = await tf.loadGraphModel(await nsfwMid(SIZE));
const [input = ''] = graph.inputNodes;
const end =
  `StatefulPartitionedCall/sequential/keras_layer/${'StatefulPartitionedCall/'.repeat(3)}` +
  'predict/MobilenetV2/Conv_1/Relu6';
const x = tf.randomUniform([BATCH, SIZE, SIZE, 3], 0, 1, 'float32', 1);

const predictGraph = () => spend(graph.execute({[input]: x}, end) as tf.Tensor);
const plain = await median([predictGraph]);

const {adam, applyLoRA, replaceHead} = await import('tfjs-lora');
if (argv.includes('relaxed')) {
  (await import('./relaxed')).useRelaxed();
}
const {fromGraphModel} = await import('tfjs-lora/graph');
const {printKernels} = await import('./where');
const base = await fromGraphModel(graph, {outputs: [end]});
const after = base.layers.at(-1)!.name;
const {layers} = tf;
const headed = replaceHead(
  base,
  [layers.globalAveragePooling2d({name: 'pool'}), layers.dense({units: 5, name: 'classes'})],
  {after},
);
const pointwise = headed.layers.filter(layer => {
  const {kernelSize} = layer as unknown as {kernelSize?: number[]};
  return (
    layer.getClassName().endsWith('Conv2D') &&
    !layer.getClassName().includes('Depthwise') &&
    kernelSize?.every(size => size === 1)
  );
});
const y = tf.oneHot(
  tf.tensor1d(
    Array.from({length: BATCH}, (_, i) => i % 5),
    'int32',
  ),
  5,
);
const stepOf = (names: string[]) => {
  const model = applyLoRA(headed, {rank: 4, seed: 1, targets: names});
  model.compile({optimizer: adam({learningRate: 1e-4}), loss: 'meanSquaredError'});
  return async () => {
    await model.trainOnBatch(x, y);
  };
};
const names = pointwise.map(({name}) => name);
const runs = {
  'the graph': predictGraph,
  'imported predict': () => spend(base.predict(x) as tf.Tensor),
  [`LoRA step, rank 4 on ${names.length} 1×1 convolutions`]: stepOf(names),
  'LoRA step, the last 9 of them': stepOf(names.slice(-9)),
};
console.log(`MobileNetV2 as a graph, ${SIZE} px, batch ${BATCH}: ${plain.toFixed(0)} ms before the library is loaded`);
if (argv.includes('where')) {
  for (const [title, run] of Object.entries(runs)) {
    await printKernels(title, run, {
      clock: 'cpu',
      steps: 5,
      top: 60,
      by: argv.includes('shapes') ? 'shapes' : 'kernel',
    });
  }
} else {
  const [library = NaN, ...times] = await medians(Object.values(runs));
  console.log(`the graph: ${library.toFixed(0)} ms after`);
  times.forEach((ms, i) => {
    const title = Object.keys(runs)[i + 1]!;
    console.log(
      `${title}: ${ms.toFixed(0)} ms, ${(ms / plain).toFixed(2)} × before, ${(ms / library).toFixed(2)} × after`,
    );
  });
}

function spend(result: tf.Tensor): Promise<void> {
  result.dataSync();
  result.dispose();
  return Promise.resolve();
}

async function median(runs: Run[]): Promise<number> {
  const [only] = await medians(runs);
  return only!;
}

/** The median time of each, the runs taken in turn. */
async function medians(runs: Run[]): Promise<number[]> {
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
