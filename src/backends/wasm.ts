import * as tf from '@tensorflow/tfjs';
import {arrangeKernels} from './wasm/arrange';
import {convolutionKernels} from './wasm/convolution';
import {copyKernels} from './wasm/copy';
import type {WasmKernel} from './wasm/kernel';
import {matMulKernels} from './wasm/matMul';
import {poolKernels} from './wasm/pool';
import {sumKernels} from './wasm/sum';
import {transposeKernel} from './wasm/transpose';

/** Marks a kernel as ours; shared by all copies of the library in a process, which would otherwise replace each other's for ever. */
const BRAND = Symbol.for('tfjs-lora.kernel');

const KERNELS: readonly WasmKernel[] = [
  ...matMulKernels,
  ...convolutionKernels,
  ...copyKernels,
  ...arrangeKernels,
  ...poolKernels,
  ...sumKernels,
  transposeKernel,
];

/** A kernel of the backend's own that is wrapped: it tells whether the backend was loaded, or loaded again. */
const WITNESS = tf.Conv2D;

/**
 * Registers what the wasm backend lacks for training, mends what it gets wrong, and speeds up what is slow in the backward pass.
 *
 * It does nothing where the wasm backend is not loaded, and next to nothing where all is in place. It is meant to be called often:
 * loading the backend after this library puts all of the backend's own kernels back.
 */
export function ensureWasmKernels(): void {
  const witness = registered(WITNESS);
  if (witness === undefined || BRAND in witness) {
    return;
  }
  for (const kernel of KERNELS) {
    const current = registered(kernel.name);
    if (current === undefined || !(BRAND in current)) {
      replace(kernel, current);
    }
  }
}

function replace(kernel: WasmKernel, current: tf.KernelConfig | undefined): void {
  const config = kernel.configure(current);
  if (config === undefined) {
    return;
  }
  if (current !== undefined) {
    // tfjs warns about a kernel that is registered twice.
    tf.unregisterKernel(kernel.name, 'wasm');
  }
  tf.registerKernel({...config, [BRAND]: true} as tf.KernelConfig);
}

/** `tf.getKernel` with its true type. */
function registered(name: string): tf.KernelConfig | undefined {
  return tf.getKernel(name, 'wasm');
}

// tf.loadLayersModel and stock layers profit too, so it is all there from the start where the backend is.
ensureWasmKernels();
