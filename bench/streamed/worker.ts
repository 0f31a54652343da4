// Trains in a worker, with a base whose weights stay in the origin private file system.

import * as tf from '@tensorflow/tfjs';
import {setThreadsCount, setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import {loadGGUF} from 'tfjs-lora/language';
import {adapted, streamedRatios, takeSteps} from './inTurn';

/** What the worker is asked for: steps whose memory is measured, or their times beside those with weights in memory. */
export interface Order {
  positions: number;
  /** Whether times are compared. Otherwise three steps are taken. */
  compares: boolean;
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

async function follow({positions, compares}: Order): Promise<Answer> {
  setWasmPaths('/wasm/');
  setThreadsCount(1);
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const file = await stored();
  const {model: streamed} = await loadGGUF(file, {...LOADING, weights: 'streamed'});
  if (compares) {
    const {model: inMemory} = await loadGGUF(await (await fetch('/model.gguf')).blob(), LOADING);
    return streamedRatios({inMemory, streamed}, {positions, clock: 'wall'});
  }
  const loaded = heap();
  await takeSteps(adapted(streamed), positions, 3);
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
