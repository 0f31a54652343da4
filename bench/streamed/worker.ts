// Trains in a worker, with a base whose weights stay in the origin private file system.

import * as tf from '@tensorflow/tfjs';
import {setThreadsCount, setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {streamedRatios} from './inTurn';

/** What the worker is asked for: steps whose memory is measured, or their times beside those with weights in memory. */
export interface Order {
  positions: number;
  vocabulary: number;
  /** Rounds of the comparison. Without it, three steps are taken. */
  rounds?: number;
}

/** Bytes of the WASM heap after loading and after the steps; or the time of a step ÷ that with weights in memory. */
export type Answer = {loaded: number; trained: number} | {step: number} | {error: string};

const LOADING = {tokenizer: false, gradientCheckpointing: true} as const;
const heap = () => (tf.backend() as unknown as {wasm: {HEAPU8: Uint8Array}}).wasm.HEAPU8.length;

/** The model's file, which is downloaded by the first order. */
async function stored(): Promise<FileSystemFileHandle> {
  const root = await navigator.storage.getDirectory();
  const file = await root.getFileHandle('model.gguf', {create: true});
  if ((await file.getFile()).size === 0) {
    const {body} = await fetch('/model.gguf');
    await body!.pipeTo(await file.createWritable());
  }
  return file;
}

async function follow({positions, vocabulary, rounds}: Order): Promise<Answer> {
  setWasmPaths('/wasm/');
  setThreadsCount(1);
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const file = await stored();
  const {model: streamed} = await loadGGUF(file, {...LOADING, weights: 'streamed'});
  if (rounds !== undefined) {
    const {model: inMemory} = await loadGGUF(await (await fetch('/model.gguf')).blob(), LOADING);
    return streamedRatios({inMemory, streamed}, {positions, vocabulary, rounds, clock: 'wall'});
  }
  const loaded = heap();
  const model = applyLoRA(streamed, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  compileModel(model, {optimizer: adam({learningRate: 1e-4})});
  const ids = tf.randomUniform([1, positions], 0, vocabulary, 'int32', 1);
  for (let step = 0; step < 3; step++) {
    await model.trainOnBatch([ids, tf.onesLike(ids)], ids);
  }
  return {loaded, trained: heap()};
}

self.onmessage = ({data}: MessageEvent<Order>) => {
  follow(data).then(
    answer => {
      self.postMessage(answer);
    },
    (error: unknown) => {
      self.postMessage({error: String(error)});
    },
  );
};
