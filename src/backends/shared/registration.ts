import * as tf from '@tensorflow/tfjs';
import {gradientOf, kernelOf} from '../../platform/tfjs/engine';

/** A kernel of ours: its name in tfjs, and the configuration that replaces the backend's, if any. */
export interface OwnKernel {
  readonly name: string;
  configure(stock: tf.KernelConfig | undefined): tf.KernelConfig | undefined;
}

/**
 * Marks a kernel as ours, with the kernel whose place it took, if any; shared by all copies of the library in a
 * process, which would otherwise replace each other's again and again.
 */
const BRAND = Symbol.for('tfjs-lora.kernel');

/** Registers kernels with a backend that is loaded, those that are not ours yet. */
export function registerKernels(backend: string, kernels: readonly OwnKernel[]): void {
  for (const kernel of kernels) {
    const {name} = kernel;
    const current = kernelOf(name, backend);
    if (current !== undefined && BRAND in current) {
      continue;
    }
    const config = kernel.configure(current);
    if (config === undefined) {
      continue;
    }
    if (current !== undefined) {
      // tfjs warns about a kernel that is registered twice.
      tf.unregisterKernel(name, backend);
    }
    tf.registerKernel({...config, [BRAND]: current} as tf.KernelConfig);
  }
}

/** Registers gradients of kernels that tfjs has none of. */
export function registerGradients(gradients: readonly tf.GradConfig[]): void {
  for (const gradient of gradients) {
    if (gradientOf(gradient.kernelName) === undefined) {
      tf.registerGradient(gradient);
    }
  }
}

/** The backend's own kernel, which one of ours may have replaced. */
export function stockKernel(name: string, backend: string): tf.KernelConfig | undefined {
  const found = kernelOf(name, backend);
  return found !== undefined && BRAND in found ? (found as {[BRAND]?: tf.KernelConfig})[BRAND] : found;
}

/** A kernel that wraps another of the same name; the backend's own where there is no other. */
export function layered(kernels: readonly OwnKernel[], above: readonly OwnKernel[]): OwnKernel[] {
  const names = new Set(kernels.map(({name}) => name));
  const over = kernels.map(kernel => {
    const upper = above.find(({name}) => name === kernel.name);
    return upper === undefined
      ? kernel
      : {name: kernel.name, configure: (stock?: tf.KernelConfig) => upper.configure(kernel.configure(stock))};
  });
  return [...over, ...above.filter(({name}) => !names.has(name))];
}
