import * as tf from '@tensorflow/tfjs';
import {gradientOf, kernelOf} from '../../platform/tfjs/engine';

/** A kernel of ours: its name in tfjs, and the configuration that replaces the backend's, if any. */
export interface OwnKernel {
  readonly name: string;
  /** Its reason, where several of ours may wrap the same kernel. */
  readonly purpose?: string;
  configure(stock: tf.KernelConfig | undefined): tf.KernelConfig | undefined;
}

/**
 * Marks a kernel as ours, with the kernel whose place it took, if any; shared by all copies of the library in a
 * process, which would otherwise replace each other's again and again.
 */
const BRAND = Symbol.for('tfjs-lora.kernel');

/** A kernel that is registered, with the one below it if it is ours. */
type Registered = tf.KernelConfig & {[BRAND]?: Registered | undefined; purpose?: string};

/** The kernels of ours by one name, the last registered first, and the backend's own if it has one. */
function chainOf(name: string, backend: string): Registered[] {
  const chain: Registered[] = [];
  for (let kernel: Registered | undefined = kernelOf(name, backend); kernel !== undefined; kernel = kernel[BRAND]) {
    chain.push(kernel);
  }
  return chain;
}

/** Registers kernels with a backend that is loaded, those that are not ours yet. */
export function registerKernels(backend: string, kernels: readonly OwnKernel[]): void {
  for (const kernel of kernels) {
    const {name, purpose} = kernel;
    const chain = chainOf(name, backend);
    const [current] = chain;
    if (chain.some(other => BRAND in other && other.purpose === purpose)) {
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
    tf.registerKernel({...config, [BRAND]: current, purpose} as tf.KernelConfig);
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
  const last = chainOf(name, backend).at(-1);
  return last !== undefined && BRAND in last ? undefined : last;
}
