import * as tf from '@tensorflow/tfjs';

/** A kernel of ours: its name in tfjs, and the configuration to register in place of the backend's own. */
export interface OwnKernel {
  readonly name: string;
  configure(stock: tf.KernelConfig | undefined): tf.KernelConfig | undefined;
}

/**
 * Marks a kernel as ours, with the kernel whose place it took, if any; shared by all copies of the library in a process, which would
 * otherwise replace each other's again and again.
 */
const BRAND = Symbol.for('tfjs-lora.kernel');

/**
 * Registers kernels with a backend, if it is loaded and they are not registered yet.
 *
 * @param witness a kernel of the backend's own that is among those replaced: it tells whether the backend was loaded, or loaded again,
 *     which puts all of the backend's own kernels back. Where it is ours, nothing else is looked at.
 */
export function ensureRegistered(backend: string, witness: string, kernels: readonly OwnKernel[]): void {
  const found = registered(witness, backend);
  if (found === undefined || BRAND in found) {
    return;
  }
  for (const kernel of kernels) {
    const current = registered(kernel.name, backend);
    if (current === undefined || !(BRAND in current)) {
      replace(kernel, backend, current);
    }
  }
}

function replace(kernel: OwnKernel, backend: string, current: tf.KernelConfig | undefined): void {
  const config = kernel.configure(current);
  if (config === undefined) {
    return;
  }
  if (current !== undefined) {
    // tfjs warns about a kernel that is registered twice.
    tf.unregisterKernel(kernel.name, backend);
  }
  tf.registerKernel({...config, [BRAND]: current} as tf.KernelConfig);
}

/** The backend's own kernel, whose place one of ours may have taken. */
export function stockKernel(name: string, backend: string): tf.KernelConfig | undefined {
  const found = registered(name, backend);
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

/** `tf.getKernel` with its true type. */
function registered(name: string, backend: string): tf.KernelConfig | undefined {
  return tf.getKernel(name, backend);
}
