// Computes kernel cases with tfjs as it is, without this library: told a seed by message, it answers with what the cpu
// and then the wasm backend compute.

import process from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {outcomeOf} from './outcome';

tf.enableProdMode();
console.warn = () => undefined;

let last = Promise.resolve();
process.on('message', (seed: number) => {
  last = last.then(async () => {
    for (const backend of ['cpu', 'wasm']) {
      await tf.setBackend(backend);
      process.send!(await outcomeOf(seed));
    }
  });
});
