import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../kernels/capabilities';
import type {BlockMatrix} from '../blockMatrix';

/**
 * Operations with a matrix in blocks that a backend has of its own. The tape does not record them. They return
 * `undefined` for a matrix that they do not take.
 */
export interface QuantizedKernels {
  /** `x·Wᵀ`: `[n, width] · [rows, width]ᵀ → [n, rows]`. */
  multiply(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** `dz·W`: `[n, rows] · [rows, width] → [n, width]`. */
  multiplyBack(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** Rows by their numbers, all of which are there: `[n, width]`. */
  lookUp(rows: ArrayLike<number>, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
}

const supplied = new PerBackend<QuantizedKernels>();

/** Supplies the operations of a backend. */
export function supplyQuantizedKernels(backend: string, supplier: () => QuantizedKernels | undefined): void {
  supplied.supply(backend, supplier);
}

/** The operations that the current backend has; `undefined` where a few rows at a time are made numbers of. */
export function quantizedKernels(): QuantizedKernels | undefined {
  return supplied.current();
}
