import * as tf from '@tensorflow/tfjs';
import type {AdaptedProduct, FusedConvolution, FusedOps} from './launches';
import type {OptimizerSteps} from './optimizerSteps';

// What a backend can do in addition to tfjs's operations. Each capability is optional: without it, an operation is
// composed of tfjs's. `backends.ts` lists the file of each backend, so that you can read operations without reading the
// backends.

/** Answers by the name of a backend. */
export class PerBackend<T> {
  private readonly suppliers = new Map<string, () => T | undefined>();

  /** @param supplier called each time that the answer is asked for: what a backend can do may turn out later. */
  supply(backend: string, supplier: () => T | undefined): void {
    this.suppliers.set(backend, supplier);
  }

  /** The answer of the current backend. */
  current(): T | undefined {
    return this.suppliers.get(tf.getBackend())?.();
  }
}

/** What computes a training step: our wasm module, tfjs's operations, our programs, or the backend's kernels. */
export type KernelSource = 'module' | 'composed' | 'programs' | 'backend';

/** The capabilities of a backend. */
export interface Capabilities {
  /** What computes a training step. Default: the backend's own kernels. */
  readonly source?: KernelSource;
  /** Whether launching an operation takes longer than computing a small one, as on TensorFlow, even a reshape. */
  readonly launchesOperations?: boolean;
  /** Whether the backend returns values only through promises, so that `dataSync` fails. */
  readonly readsByPromise?: boolean;
  /** Whether values are in the memory of this process, so that reading them does not block. */
  readonly isOnHost?: boolean;
  /** How many bytes all tensors can take at most. Default: what the machine has, which nothing here knows. */
  readonly mostBytes?: number;
  /** `op(a)·op(b)` of two matrices, faster than by `tf.matMul`. The tape records it. */
  matrixProduct?(a: tf.Tensor, b: tf.Tensor, transposeA: boolean, transposeB: boolean): tf.Tensor;
  /**
   * `c + a·b` for a small rank in a training step: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width,
   * rank]`. The tape does not record it. The last bits may differ from those of a product and a sum.
   */
  addProduct?(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, transposed: boolean): tf.Tensor;
  /** Operations in one launch, which the tape does not record. */
  readonly oneLaunch?: FusedOps;
  /** A product with a low-rank update and what follows it, in few launches. */
  readonly adaptedProduct?: AdaptedProduct;
  /** A convolution with what follows it. */
  readonly fusedConvolution?: FusedConvolution;
  /** Whether training computes `a·b + c` in one instruction now. */
  hasFusedSums?(): boolean;
  /** Whether steps of optimizers are loops over the values, because that is faster than launching operations. */
  readonly stepsOnHost?: boolean;
  /** Steps of optimizers in few launches, for variables with these gradients. */
  optimizerSteps?(gradients: readonly tf.Tensor[]): OptimizerSteps | undefined;
}

const supplied = new PerBackend<Capabilities>();

/** Supplies what a backend can do. */
export function supplyCapabilities(backend: string, supplier: () => Capabilities | undefined): void {
  supplied.supply(backend, supplier);
}

/** The capabilities of the current backend. */
export function capabilities(): Capabilities {
  return supplied.current() ?? {};
}

/** While kernels are missing: `over` settles when loading ends, `refuse` throws, `refuseStep` if the tape records. */
export const pendingKernels = new PerBackend<{over(): Promise<void>; refuse(): void; refuseStep(): void}>();

/** Operations in one launch on the current backend; none while the tape records, which would not record these. */
export function oneLaunch(): FusedOps | undefined {
  return tf.engine().isTapeOn() ? undefined : capabilities().oneLaunch;
}
