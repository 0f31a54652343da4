// Measures in a page: `predict` before the library is loaded, then with it, then a LoRA step, on as many threads of
// tfjs's wasm backend.

import * as tf from '@tensorflow/tfjs';
import {getThreadsCount, setThreadsCount, setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import type {BenchCase} from '../cases/case';
import {conv} from '../cases/conv';
import {mlp} from '../cases/mlp';
import {transformer} from '../cases/transformer';

/** Milliseconds, medians of rounds. */
export interface Times {
  stock: number;
  predict: number;
  step: number;
}

declare global {
  interface Window {
    measureThreads: (threads: number) => Promise<{threads: number; times: Record<string, Times>}>;
  }
}

const ROUNDS = 21;
const WARM_UP = 4;
/** The library's threads begin while the page is idle. */
const IDLE_MS = 1000;

async function median(run: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = -WARM_UP; i < ROUNDS; i++) {
    const start = performance.now();
    await run();
    if (i >= 0) {
      times.push(performance.now() - start);
    }
  }
  return times.sort((one, other) => one - other)[ROUNDS >> 1] as number;
}

async function prepare(name: string, {build, batch, targets, loss}: BenchCase) {
  const model = await build();
  const {xs, ys} = batch();
  const predict = () =>
    median(async () => {
      const y = model.predict(xs, {batchSize: xs.shape[0]}) as tf.Tensor;
      await y.data();
      y.dispose();
    });
  return {name, model, xs, ys, predict, targets, loss, stock: await predict()};
}

window.measureThreads = async threads => {
  tf.enableProdMode();
  setWasmPaths('/wasm/');
  setThreadsCount(threads);
  await tf.setBackend('wasm');
  const prepared = [];
  for (const [name, benchCase] of Object.entries({mlp, conv, transformer})) {
    prepared.push(await prepare(name, benchCase));
  }
  const {adam, applyLoRA, loraKernels} = await import('tfjs-lora');
  if (loraKernels() !== 'module') {
    throw new Error('The module of the library is not in use here.');
  }
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  const times: Record<string, Times> = {};
  for (const {name, model, xs, ys, predict, targets, loss, stock} of prepared) {
    const adapted = applyLoRA(model, targets(model));
    adapted.compile({optimizer: adam({learningRate: 1e-4}), loss});
    times[name] = {stock, predict: await predict(), step: await median(() => adapted.trainOnBatch(xs, ys))};
  }
  return {threads: getThreadsCount(), times};
};
