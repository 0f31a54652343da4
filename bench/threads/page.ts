// Measures in a page: `predict` before the library is loaded, then with it, then a LoRA step, on as many threads of
// tfjs's wasm backend; with it alone where the layers are the library's.

import * as tf from '@tensorflow/tfjs';
import {getThreadsCount, setThreadsCount, setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import type {BenchCase} from '../cases/case';
import {conv} from '../cases/conv';
import {mlp} from '../cases/mlp';
import {blockOf, transformer} from '../cases/transformer';
import {summarize} from '../measure';

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
/** Places of its texts. */
const PLACES = 128;
/** The library's threads begin while the page is idle. */
const IDLE_MS = 1000;

async function median(
  run: () => Promise<unknown>,
  {rounds, warmUp} = {rounds: ROUNDS, warmUp: WARM_UP},
): Promise<number> {
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

async function predicted(model: tf.LayersModel, xs: tf.Tensor | tf.Tensor[], batchSize: number): Promise<void> {
  const y = model.predict(xs, {batchSize}) as tf.Tensor;
  await y.data();
  y.dispose();
}

async function prepare(name: string, {build, batch, targets, loss}: BenchCase) {
  const model = await build();
  const {xs, ys} = batch();
  const predict = () => median(() => predicted(model, xs, xs.shape[0]));
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
  const {Attention, FusedLayerNormalization, Gelu} = await import('tfjs-lora/transformers');
  if (loraKernels() !== 'module') {
    throw new Error('The module of the library is not in use here.');
  }
  const ownBlock = blockOf({
    attention: args => new Attention(args),
    norm: args => new FusedLayerNormalization(args),
    activation: args => new Gelu(args),
  });
  const {stock: _, ...ours} = await prepare('block of ours', {...transformer, build: () => Promise.resolve(ownBlock)});
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  const times: Record<string, Times> = {};
  for (const {name, model, xs, ys, predict, targets, loss, ...measured} of [...prepared, ours]) {
    const adapted = applyLoRA(model, targets(model));
    adapted.compile({optimizer: adam({learningRate: 1e-4}), loss});
    const step = () => median(() => adapted.trainOnBatch(xs, ys));
    times[name] = {...measured, predict: await predict(), step: await step()};
  }
  times['SmolLM2-135M in 4 bits'] = await languageTimes();
  return {threads: getThreadsCount(), times};
};

/** `predict` and a LoRA step of one text, and a token that is written. */
async function languageTimes(): Promise<Times> {
  const [{adam, applyLoRA}, {generate, loadGGUF}, {compileModel}] = await Promise.all([
    import('tfjs-lora'),
    import('tfjs-lora/language'),
    import('tfjs-lora/transformers'),
  ]);
  const {model, tokenizer} = await loadGGUF(await fetch('/smollm2.gguf'));
  const ids = tf.randomUniform([1, PLACES], 1000, 20_000, 'int32', 1);
  const xs = [ids, tf.onesLike(ids)];
  const predict = await median(() => predicted(model, xs, 1), LONG);
  const pieces = generate(model, tokenizer, 'Once upon a time', {maxTokens: ROUNDS + WARM_UP + 1});
  await pieces.next();
  const token = await median(() => pieces.next());
  const adapted = applyLoRA(model, {rank: 8, targets: [/[qv]_proj$/]});
  compileModel(adapted, {optimizer: adam({learningRate: 1e-4})});
  return {predict, step: await median(() => adapted.trainOnBatch(xs, ids), LONG), token};
}
