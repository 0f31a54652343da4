import * as tf from '@tensorflow/tfjs';
import {currentNative} from './wasm/own/find';

/** What computes a training step: our wasm module, kernels made of tfjs's own operations, or the backend's own kernels. */
export type KernelSource = 'module' | 'composed' | 'backend';

/**
 * What the current backend computes a training step with.
 *
 * On wasm that is `'module'`, our own module in the memory of the backend. It reaches the memory by fields that tfjs does not declare public,
 * and is used where these are there and its results are those of the backend's own kernels, bit for bit. Where not, or without SIMD, it is
 * `'composed'`: slower, with the same results up to rounding. On every other backend it is `'backend'`.
 */
export function loraKernels(): KernelSource {
  if (tf.getBackend() !== 'wasm') {
    return 'backend';
  }
  return currentNative() === undefined ? 'composed' : 'module';
}
