import {type Capabilities, supplyCapabilities} from './capabilities';
import {onBackend} from './lifecycle';
import {type OwnKernel, registerKernels} from './registration';

/** How to set up a backend. */
interface Backend {
  /** Kernels that correct what it gets wrong, add what it lacks, and speed up what is slow in the backward pass. */
  readonly kernels?: readonly OwnKernel[];
  /** Its capabilities besides tfjs's operations. */
  readonly capabilities: () => Capabilities | undefined;
}

/** Supplies what is known of a backend. `tf.loadLayersModel` and stock layers profit from the kernels too. */
export function supplyBackend(name: string, {kernels = [], capabilities}: Backend): void {
  supplyCapabilities(name, capabilities);
  onBackend(current => {
    if (current === name) {
      registerKernels(name, kernels);
    }
  });
}
