// Measures in a page: `predict` before the library is loaded, then with it, then a LoRA step, on as many threads of
// tfjs's wasm backend; with it alone where the layers are the library's.

import * as tf from '@tensorflow/tfjs';
import {getThreadsCount, setThreadsCount, setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import type {BenchCase} from '../cases/case';
import {conv} from '../cases/conv';
import {mlp} from '../cases/mlp';
import {transformer} from '../cases/transformer';
import {type Run, summarize} from '../measure';
import {forward, step as stepOf} from '../runs';

/** Milliseconds, medians of rounds. */
export interface Times {
  /** Not for layers that the library alone has. */
  stock?: number;
  predict: number;
  step: number;
  /** One that is written, where the model writes. */
  token?: number;
}

declare global {
  interface Window {
    measureThreads: (threads: number) => Promise<{threads: number; times: Record<string, Times>}>;
  }
}

const ROUNDS = 21;
const WARM_UP = 4;
/** SmolLM2 takes seconds where the other cases take milliseconds. */
const LONG = {rounds: 5, warmUp: 1};
/** The library's threads begin while the page is idle. */
const IDLE_MS = 1000;

async function median(run: Run, {rounds, warmUp} = {rounds: ROUNDS, warmUp: WARM_UP}): Promise<number> {
  const times: number[] = [];
  for (let i = -warmUp; i < rounds; i++) {
    const start = performance.now();
    await run();
    if (i >= 0) {
      times.push(performance.now() - start);
    }
  }
  return summarize(times)!.median;
}

async function prepare(name: string, {build, batch, targets, loss}: BenchCase) {
  const model = await build();
  const {xs, ys} = batch();
  const predict = () => median(forward(model, xs));
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
  const {adam, applyLoRA} = await import('tfjs-lora');
  const {loraKernels} = await import('../../src/backends/loraKernels');
  const {ownBlock} = await import('./models');
  if (loraKernels() !== 'module') {
    throw new Error('The module of the library is not in use here.');
  }
  const {stock: _, ...ours} = await prepare('block of ours', {
    ...transformer,
    build: () => Promise.resolve(ownBlock()),
  });
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  const times: Record<string, Times> = {};
  for (const {name, model, xs, ys, predict, targets, loss, ...measured} of [...prepared, ours]) {
    const adapted = applyLoRA(model, targets(model));
    adapted.compile({optimizer: adam({learningRate: 1e-4}), loss});
    const step = () => median(stepOf(adapted, {xs, ys}));
    times[name] = {...measured, predict: await predict(), step: await step()};
  }
  times['SmolLM2-135M in 4 bits'] = await languageTimes();
  return {threads: getThreadsCount(), times};
};

async function languageTimes(): Promise<Times> {
  const {languageRuns} = await import('./models');
  const {predict, token, step} = await languageRuns(await fetch('/smollm2.gguf'));
  return {predict: await median(predict, LONG), token: await median(token), step: await median(step, LONG)};
}
