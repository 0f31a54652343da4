import * as tf from '@tensorflow/tfjs';
import type {OptimizerSteps} from './optimizerSteps';

// What operations ask of the current backend beside tfjs's own operations. Each answer is optional: without it, an
// operation is composed of those. `backends.ts` says which file answers for which backend, so that operations can be
// read without the backends.

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

/**
 * What computes a training step: our wasm module, kernels made of tfjs's own operations, programs of ours, or the
 * backend's own kernels.
 */
export type KernelSource = 'module' | 'composed' | 'programs' | 'backend';

/** What a backend can do. */
export interface Capabilities {
  /** What computes a training step. Default: the backend's own kernels. */
  readonly source?: KernelSource;
  /**
   * Whether it takes longer to launch an operation than to compute a small one, as on TensorFlow. A reshape counts as
   * one, and products take matrices as they are.
   */
  readonly launchesOperations?: boolean;
  /** Whether numbers on the backend come by a promise alone, so that `dataSync` fails. */
  readonly readsByPromise?: boolean;
  /** How many bytes all tensors can take at most. Default: what the machine has, which nothing here knows. */
  readonly mostBytes?: number;
  /** `op(a)·op(b)` of two matrices, faster than by `tf.matMul`. The tape records it. */
  matrixProduct?(a: tf.Tensor, b: tf.Tensor, transposeA: boolean, transposeB: boolean): tf.Tensor;
  /** Operations in one launch, which the tape does not record. */
  readonly oneLaunch?: OneLaunch;
  /** A convolution with what follows it. */
  readonly fusedConvolution?: FusedConvolution;
  /** A convolution whose gradient in the input is faster with a kernel that is prepared once. */
  readonly preparedConvolution?: PreparedConvolution;
  /** Steps of optimizers in few launches, for variables with these gradients. */
  optimizerSteps?(gradients: readonly tf.Tensor[]): OptimizerSteps | undefined;
}

/** Operations in one launch each. They return `undefined` for tensors that they do not take. */
export interface OneLaunch {
  /**
   * `c + scale·a·b`, for a rank of few numbers: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`.
   */
  addProduct?(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor;
  /** `x·m + t` or `x·m` along the last axis. */
  affine?(x: tf.Tensor, m: tf.Tensor, t: tf.Tensor | undefined): tf.Tensor | undefined;
  /** The gradient of an activation from its output: `dy · f'(x)` given `y = f(x)`. */
  activationGradient?(name: OutputActivationName, dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined;
}

/** Activations whose gradients follow from their outputs. */
export type OutputActivationName = 'relu' | 'relu6' | 'sigmoid' | 'tanh';

/** A convolution of channels-last images, without dilation. */
export interface PlainConvolution {
  readonly x: tf.Tensor4D;
  /** `[kh, kw, in, out]`, or `[kh, kw, c, 1]` for a depthwise one. */
  readonly filter: tf.Tensor4D;
  readonly bias: tf.Tensor | null;
  readonly depthwise: boolean;
  readonly strides: [number, number];
  readonly padding: 'valid' | 'same';
}

/** Scale and shift of the channels of a result, `[c]` each: a normalization by fixed statistics. */
export interface Scaling {
  readonly m: tf.Tensor;
  readonly t: tf.Tensor;
}

/**
 * A convolution, a normalization by fixed statistics and a relu in one. The last bits are not those of the three by
 * themselves.
 */
export interface FusedConvolution {
  /** Whether it is faster at this convolution than the three by themselves. */
  takes(convolution: PlainConvolution): boolean;
  /** `(x ∗ W + b)·m + t`. */
  normalized(convolution: PlainConvolution, scaling: Scaling): tf.Tensor;
  /**
   * `y = min(max((x ∗ W + b)·m + t, 0), cap)`, and of each number a bit: whether it lies strictly between the bounds.
   * Where some are NaN, a factor of each instead: 1, 0 or NaN.
   */
  rectified(convolution: PlainConvolution, scaling: Scaling, cap: number): [y: tf.Tensor, mask: tf.Tensor];
  /** `dy` where the bit is set, else 0; `dy` times the factors. */
  masked(dy: tf.Tensor, mask: tf.Tensor): tf.Tensor;
}

/** The gradient of a convolution without dilation in its input, by a kernel that depends on the filter alone. */
export interface PreparedConvolution {
  /** The kernel: `[kh, kw, in, out] → [kh, kw, out, in]`. */
  adjointOf(filter: tf.Tensor4D): tf.Tensor4D;
  /** `[n, h', w', out] → [n, h, w, in]`. */
  inputGradient(
    dy: tf.Tensor4D,
    adjoint: tf.Tensor4D,
    inputShape: tf.Tensor4D['shape'],
    strides: [number, number],
    padding: 'valid' | 'same',
  ): tf.Tensor4D;
}

const supplied = new PerBackend<Capabilities>();

const NONE: Capabilities = {};

/** Supplies what a backend can do. */
export function supplyCapabilities(backend: string, supplier: () => Capabilities | undefined): void {
  supplied.supply(backend, supplier);
}

/** What the current backend can do. */
export function capabilities(): Capabilities {
  return supplied.current() ?? NONE;
}

/**
 * Operations in one launch on the current backend. There are none while the tape records every operation: it would not
 * record these.
 */
export function oneLaunch(): OneLaunch | undefined {
  return tf.engine().isTapeOn() ? undefined : capabilities().oneLaunch;
}
