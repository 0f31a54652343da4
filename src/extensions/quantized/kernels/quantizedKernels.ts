import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../../backends/shared/capabilities';
import type {Factors} from '../../../core/ops/factors';
import type {BlockMatrix} from '../formats/blockMatrix';
import type {BlockFormat} from '../formats/formats';

/** A quantized matrix with its low-rank update, if any. */
export interface AdaptedMatrix {
  readonly blocks: tf.Tensor;
  readonly matrix: BlockMatrix;
  readonly factors: Factors | null;
}

/** Concatenated products of one input with several matrices, in few launches. They are not recorded. */
export interface JointProducts {
  /** Whether they support these matrices, and a tensor that is added. */
  takes(x: tf.Tensor, parts: readonly AdaptedMatrix[], adds: boolean): boolean;
  /** `[x·W₀ᵀ + s₀·(x·A₀)·B₀, x·W₁ᵀ + …] + added`: `[.., width]` → `[.., Σ rows]`. */
  forward(x: tf.Tensor, parts: readonly AdaptedMatrix[], added: tf.Tensor | null): tf.Tensor;
  /** The gradients in the input, and in `A` and `B` of each part that has them, one after the other. */
  backward(
    x: tf.Tensor,
    dy: tf.Tensor,
    parts: readonly AdaptedMatrix[],
  ): {readonly ofInput: () => tf.Tensor; readonly ofFactors: () => readonly tf.Tensor[]};
}

/** The rank of each part's factors, 0 for none, and the factors of those that have them. */
export function factorsOf(parts: readonly AdaptedMatrix[]): {
  ranks: number[];
  scales: number[];
  as: tf.Tensor[];
  bs: tf.Tensor[];
} {
  const all = parts.flatMap(({factors}) => factors ?? []);
  return {
    ranks: parts.map(({factors}) => factors?.b.shape[0] ?? 0),
    scales: all.map(({scaling}) => scaling),
    as: all.map(({a}) => a),
    bs: all.map(({b}) => b),
  };
}

/** Products of a few rows with matrices of the same format and width, at addresses in the memory of a backend. */
export interface RowProducts {
  takes(matrix: BlockMatrix, count: number): boolean;
  /** Writes `x·Wᵀ`, `[count, rows]`, for each matrix. */
  multiply(x: number, count: number, targets: readonly {blocks: tf.Tensor; matrix: BlockMatrix; to: number}[]): void;
}

/** A backend's operations with a quantized matrix, unrecorded. `undefined` for a matrix that they do not support. */
export interface QuantizedKernels {
  /** Whether they support a format; this starts the trial that some need. Default: all. */
  runs?(format: BlockFormat): boolean;
  /** `x·Wᵀ`: `[n, width] · [rows, width]ᵀ → [n, rows]`. */
  multiply?(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  /** `dz·W`: `[n, rows] · [rows, width] → [n, width]`. */
  multiplyBack?(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D | undefined;
  readonly rowProducts?: RowProducts;
  /** The bytes of a tensor of blocks where the backend has them, valid until it allocates more memory. */
  readonly bytesOf?: (blocks: tf.Tensor) => Uint8Array;
  /** Layers leave their products to these, and compute them once something reads them. */
  readonly joint?: JointProducts;
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
