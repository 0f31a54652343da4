// Threads for the wasm backend, in this thread and then in a worker: the same model trains to the same loss on one thread.

import {isMainThread, parentPort, Worker} from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, startWasm} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';

/** The loss after an epoch with some threads. */
async function lossWith(threads) {
  const start = await startWasm({threads});
  if (start.threads !== threads) {
    throw new Error(`${start.threads} thread(s), not ${threads}: ${start.reason}`);
  }
  const [base, {images, labels}] = [digitReader(), rotatedDigits()];
  const model = applyLoRA(base, {rank: 4, seed: 1});
  model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});
  const {history} = await model.fit(images, labels, {epochs: 1, shuffle: false, verbose: 0});
  tf.removeBackend('wasm');
  return history.loss[0];
}

async function fault() {
  const {findBackendFactory, registerBackend} = tf;
  await startWasm({threads: 1});
  const factory = findBackendFactory('wasm');
  const losses = [];
  for (const threads of [1, 2]) {
    registerBackend('wasm', factory);
    losses.push(await lossWith(threads));
  }
  return losses[0] === losses[1] ? '' : `The losses are ${losses.join(' and ')}.`;
}

const result = await fault().catch(error => String(error.stack));
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  worker.on('message', inWorker => console.log(`RESULT ${result || inWorker || 'equal with threads'}`));
} else {
  parentPort.postMessage(result);
}
