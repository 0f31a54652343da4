import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../../backends/shared/capabilities';
import type {BlockMatrix} from '../formats/blockMatrix';
import type {BlockFormat} from '../formats/formats';

/** A backend's operations with a quantized matrix, unrecorded. `undefined` for a matrix that they do not support. */
export interface QuantizedKernels {
  /** Whether they support a format; this starts the trial that some need. Default: all. */
  runs?(format: BlockFormat): boolean;
  /** `x·Wᵀ`: `[n, width] · [rows, width]ᵀ → [n, rows]`. */
  multiply?(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** `dz·W`: `[n, rows] · [rows, width] → [n, width]`. */
  multiplyBack?(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** Rows by index, `[n, 1] → [n, width]`. Invalid indices give zeros where indices cannot be read synchronously. */
  lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** Unpacks `count` rows from row `first` on, `[count, width]`; they need not be uploaded then. */
  unpack?(blocks: tf.Tensor, matrix: BlockMatrix, first: number, count: number): tf.Tensor2D | undefined;
}

const supplied = new PerBackend<QuantizedKernels>();

/** Supplies the operations of a backend. */
export function supplyQuantizedKernels(backend: string, supplier: () => QuantizedKernels | undefined): void {
  supplied.supply(backend, supplier);
}

/** The current backend's operations for a format; if `undefined`, a few rows at a time are unpacked. */
export function quantizedKernels(format: BlockFormat): QuantizedKernels | undefined {
  const kernels = supplied.current();
  return kernels?.runs?.(format) === false ? undefined : kernels;
}
