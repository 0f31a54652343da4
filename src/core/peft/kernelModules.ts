import type * as tf from '@tensorflow/tfjs';

/** The end of the path of a module in PyTorch, by the name of the kernel that it is in a layer. */
type KernelModules = Readonly<Record<string, string>>;

/** Those of the classes that extensions register. */
const registered = new Map<string, KernelModules>();

/** Says which modules in PyTorch the kernels of a class of layers are, if they are several. */
export function registerKernelModules(className: string, modules: KernelModules): void {
  registered.set(className, modules);
}

/** The modules of the kernels of a layer; `undefined` if the layer is one module, or none. */
export function kernelModules(layer: tf.layers.Layer): KernelModules | undefined {
  return registered.get(layer.getClassName());
}
