// Computes kernel cases in a page, with tfjs as it is.

import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-webgpu';
import {randomFrom} from '../damage';
import {kernelCase} from './cases';
import {type Outcome, outcomeOf} from './outcome';

declare global {
  interface Window {
    /** What cpu and then a backend compute for a seed, and what that is. */
    outcomesOf(backend: string, seed: number): Promise<[cpu: Outcome, onBackend: Outcome, what: string]>;
  }
}

tf.enableProdMode();
console.warn = () => undefined;
// Tensors as small as these would be computed on cpu in part.
tf.env().set('WEBGL_CPU_FORWARD', false);
tf.env().set('WEBGPU_CPU_FORWARD', false);

async function outcomeOn(backend: string, seed: number): Promise<Outcome> {
  if (!(await tf.setBackend(backend))) {
    throw new Error(`There is no backend ${backend}.`);
  }
  return outcomeOf(seed);
}

window.outcomesOf = async (backend, seed) => [
  await outcomeOn('cpu', seed),
  await outcomeOn(backend, seed),
  kernelCase(randomFrom(seed)).what,
];
