// What a network costs that was imported from an ONNX file, compared with the same one of stock layers, and how long a
// file of 100 MB takes to import and to write back, and how much memory: `npm run bench -- onnx`. Time of steps is that
// of the processor, in interleaved rounds; medians of them, and of the ratios within rounds.

import {fork} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {argv, cpuUsage, memoryUsage, resourceUsage} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, disposeModel} from 'tfjs-lora';
import {fromONNX, toONNX} from 'tfjs-lora/onnx';

const ROUNDS = 16;
const [SIZE, BATCH] = [64, 16];

/** What a process of its own measures. */
interface Cost {
  milliseconds: number;
  /** The most memory that it had, above what it had before. */
  peak: number;
}

const [, , task, path = ''] = argv;
tf.enableProdMode();
await tf.setBackend('wasm');
if (task === 'import' || task === 'write') {
  process.send?.(await costOf(task, path));
} else {
  await compareSteps();
  await measureFile();
}

async function compareSteps(): Promise<void> {
  const stock = network();
  const imported = await fromONNX(await toONNX(stock));
  const x = tf.randomUniform([BATCH, 3, SIZE, SIZE], 0, 1, 'float32', 1);
  const y = tf.oneHot(tf.range(0, BATCH, 1, 'int32'), 10);
  const predict = (model: tf.LayersModel) => () => tf.dispose(tf.tidy(() => model.predict(x) as tf.Tensor));
  const step = (model: tf.LayersModel) => {
    const adapted = applyLoRA(model, {rank: 4, seed: 1});
    adapted.compile({optimizer: adam({learningRate: 1e-4}), loss: 'meanSquaredError'});
    return async () => {
      await adapted.trainOnBatch(x, y);
    };
  };
  console.log(`A network of ten layers, ${SIZE} px, batch ${BATCH}\n`);
  for (const [title, make] of Object.entries({predict, 'LoRA step, rank 4': step})) {
    const [one, other] = [make(stock), make(imported)];
    const ratios: number[] = [];
    const times: number[] = [];
    for (let round = -2; round < ROUNDS; round++) {
      // One leaves the other its garbage, so each is first in every second round.
      const isFirst = round % 2 === 0;
      const early = await spent(isFirst ? one : other);
      const late = await spent(isFirst ? other : one);
      if (round >= 0) {
        ratios.push(isFirst ? late / early : early / late);
        times.push(isFirst ? early : late);
      }
    }
    const ratio = median(ratios).toFixed(3);
    console.log(`${title}: stock ${median(times).toFixed(0)} ms, imported ÷ stock ${ratio}`);
  }
}

/** Convolutions, normalizations and pools of stock layers, on images with the channels first. */
function network(): tf.LayersModel {
  const {layers} = tf;
  const convolution = (filters: number, strides: number) => [
    layers.conv2d({filters, kernelSize: 3, strides, padding: 'same', useBias: false}),
    layers.batchNormalization({}),
    layers.reLU(),
  ];
  return tf.sequential({
    layers: [
      layers.permute({dims: [2, 3, 1], inputShape: [3, SIZE, SIZE]}),
      ...convolution(32, 2),
      ...convolution(64, 1),
      layers.maxPooling2d({}),
      ...convolution(64, 1),
      ...convolution(128, 2),
      ...convolution(128, 1),
      layers.globalAveragePooling2d({}),
      layers.dense({units: 10}),
    ],
  });
}

/** Milliseconds of the processor. */
async function spent(run: () => unknown): Promise<number> {
  const begin = cpuUsage();
  await run();
  const {user, system} = cpuUsage(begin);
  return (user + system) / 1000;
}

async function measureFile(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-bench-'));
  const file = join(folder, 'large.onnx');
  try {
    const dense = Array.from({length: 6}, () => tf.layers.dense({units: 2048, inputShape: [2048], activation: 'relu'}));
    const large = tf.sequential({layers: dense});
    const bytes = await toONNX(large);
    writeFileSync(file, bytes);
    disposeModel(large);
    console.log(`\nA file of ${(bytes.length / 1e6).toFixed(0)} MB, in a process of its own`);
    for (const what of ['import', 'write'] as const) {
      const child = fork(fileURLToPath(import.meta.url), [what, file]);
      const [{milliseconds, peak}] = (await once(child, 'message')) as [Cost];
      const times = (peak / bytes.length).toFixed(2);
      console.log(`${what}: ${(milliseconds / 1000).toFixed(2)} s, ${times} × its size at the peak`);
    }
  } finally {
    rmSync(folder, {recursive: true});
  }
}

/** What a file costs that is imported, or written back with one of its layers changed. */
async function costOf(what: 'import' | 'write', file: string): Promise<Cost> {
  tf.dispose(tf.tidy(() => tf.matMul(tf.ones([8, 8]), tf.ones([8, 8]))));
  const before = memoryUsage.rss();
  const begin = performance.now();
  const bytes = readFileSync(file);
  const base = await fromONNX(bytes);
  if (what === 'write') {
    const model = applyLoRA(base, {rank: 8, trainInFull: [base.layers.at(-1)!.name]});
    await toONNX(model, bytes);
  }
  return {milliseconds: performance.now() - begin, peak: resourceUsage().maxRSS * 1024 - before};
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return (sorted[Math.floor((values.length - 1) / 2)]! + sorted[Math.floor(values.length / 2)]!) / 2;
}
