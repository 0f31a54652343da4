import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../../backends/shared/capabilities';
import type {BlockMatrix} from '../formats/blockMatrix';
import type {BlockFormat} from '../formats/formats';

/** A backend's operations with a matrix in blocks, unrecorded. `undefined` for a matrix that they do not take. */
export interface QuantizedKernels {
  /** Whether they compute with a format. Default: with each. What has to be tried out before is, once this is asked. */
  runs?(format: BlockFormat): boolean;
  /** `x·Wᵀ`: `[n, width] · [rows, width]ᵀ → [n, rows]`. */
  multiply?(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** `dz·W`: `[n, rows] · [rows, width] → [n, width]`. */
  multiplyBack?(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** Rows by index, `[n, 1] → [n, width]`. An index of no row gives zeros where indices cannot be read at once. */
  lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** Some rows as numbers, `[count, width]`, the first of them row `first`, which need not be uploaded then. */
  unpack?(blocks: tf.Tensor, matrix: BlockMatrix, first: number, count: number): tf.Tensor2D | undefined;
}

const supplied = new PerBackend<QuantizedKernels>();

/** Supplies the operations of a backend. */
export function supplyQuantizedKernels(backend: string, supplier: () => QuantizedKernels | undefined): void {
  supplied.supply(backend, supplier);
}

/** The operations that the current backend has for a format; `undefined` where a few rows at a time become numbers. */
export function quantizedKernels(format: BlockFormat): QuantizedKernels | undefined {
  const kernels = supplied.current();
  return kernels?.runs?.(format) === false ? undefined : kernels;
}
