import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../../backends/shared/capabilities';
import {type CrossEntropyKernels, supplyCrossEntropyKernels} from '../../../core/ops/crossEntropy';
import type {ScoreSettings} from './scoreSettings';

/** An activation, alone or as a gate: exact gelu, gelu by tanh, silu. */
export type GateKind = 'gelu' | 'gelu_tanh' | 'silu';

/** The parameters of attention, besides its tensors. */
export interface AttentionSettings extends ScoreSettings {
  /** The number of query heads. */
  readonly heads: number;
  /** The number of key and value heads, each for `heads / keyValueHeads` query heads. */
  readonly keyValueHeads: number;
  /** The factor of the products of queries and keys. */
  readonly scale: number;
  /** Whether each query sees only keys up to its own position; the last query has the position of the last key. */
  readonly causal: boolean;
  /** A query sees keys at distances less than this. Default: all. */
  readonly window?: number | null;
  /** Whether nothing that trains depends on the bias, so that its gradient may be left out. Default: false. */
  readonly fixedBias?: boolean;
}

/** Larger than any sequence length. */
const FAR = 2 ** 30;

/** How many positions before and after its own a query sees. The last query has the position of the last key. */
export function reachOf({causal, window}: Pick<AttentionSettings, 'causal' | 'window'>): {
  behind: number;
  ahead: number;
} {
  const reach = Math.min(window ?? FAR, FAR) - 1;
  return {behind: reach, ahead: causal ? 0 : reach};
}

/** Queries, keys and values, each `[batch, positions, heads · size]`, or packed in one tensor. */
export type AttentionInputs =
  | {
      readonly q: tf.Tensor3D;
      readonly k: tf.Tensor3D;
      readonly v: tf.Tensor3D;
      /**
       * Added to the scaled products of queries and keys, `[examples, heads, queries, keys]`. `examples` divides the
       * batch, whose example `i` has the bias `i % examples`.
       */
      readonly bias?: tf.Tensor;
    }
  | {readonly packed: tf.Tensor3D};

/** The bias of the scores, if there is one. */
export function biasOf(inputs: AttentionInputs): tf.Tensor | undefined {
  return 'packed' in inputs ? undefined : inputs.bias;
}

export interface AttentionGradients {
  /** In `q`, `k` and `v`, or in the packed tensor. */
  readonly dInputs: readonly tf.Tensor[];
  /** In the bias, if there is one that is not fixed. */
  readonly dBias?: () => tf.Tensor;
}

/** How pairs of values are rotated by the angles of their positions. */
export interface RotationSettings {
  readonly heads: number;
  /** Only this many leading heads are rotated. Default: all. */
  readonly rotatedHeads?: number;
  /** `(2j, 2j + 1)` instead of `(j, j + half)`. */
  readonly interleaved: boolean;
}

export interface EarlierPositions {
  /** None before the first pass. */
  readonly cached: readonly [k: tf.Tensor3D, v: tf.Tensor3D] | undefined;
  /** How many positions to keep: the last ones, after zeros where there are not as many. */
  readonly count: number;
}

export interface RowNormSettings {
  /** Whether to subtract the mean, as in layer normalization; otherwise it is an RMS normalization. */
  readonly centered: boolean;
  readonly epsilon: number;
}

/** The weights of a normalization along the last axis, `[width]` each. */
export interface RowNormWeights {
  gamma: tf.Tensor;
  /** `null` for none. */
  beta: tf.Tensor | null;
}

/** Transformer operations that a backend computes in one dispatch each. The last bits differ from composed tfjs ops. */
export interface TransformerKernels extends CrossEntropyKernels {
  /** The operations on one position at addresses, where tensors have these. */
  readonly row?: RowKernels;
  /** Whether `rotate` supports `rotatedHeads`. */
  readonly rotatesSomeHeads?: boolean;
  /**
   * `softmax(scale·q·kᵀ)·v`. `mask`, `[batch, keys]`, is 0 for hidden keys. A query that sees nothing gets zeros.
   * `undefined` for inputs or settings that it does not compute, such as too many keys; then it is composed of tfjs's
   * operations. Nothing else decides that.
   */
  attention(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings): tf.Tensor | undefined;
  attentionGradient(
    inputs: AttentionInputs,
    mask: tf.Tensor | null,
    dy: tf.Tensor,
    settings: AttentionSettings,
  ): AttentionGradients | undefined;
  /** `f(x)·up`, or `f(x)`. */
  gate(x: tf.Tensor, up: tf.Tensor | null, kind: GateKind): tf.Tensor;
  /** The gradients in `x` and, if there is one, `up`. */
  gateGradient(x: tf.Tensor, up: tf.Tensor | null, dy: tf.Tensor, kind: GateKind): tf.Tensor[];
  /** `f(x₀)·x₁` of the two halves of the last axis, and its gradient in `x`. */
  readonly gateHalves?: (x: tf.Tensor, kind: GateKind) => tf.Tensor;
  readonly gateHalvesGradient?: (x: tf.Tensor, dy: tf.Tensor, kind: GateKind) => tf.Tensor;
  /** The normalized rows of `x`, or of `x + residual`; then also the sum. */
  normalizeRows(
    x: tf.Tensor,
    residual: tf.Tensor | null,
    weights: RowNormWeights,
    settings: RowNormSettings,
  ): tf.Tensor[];
  normalizeRowsGradient(x: tf.Tensor, gamma: tf.Tensor, dy: tf.Tensor, settings: RowNormSettings): tf.Tensor;
  /**
   * For each row `[width]`: some values that include its `count` largest, in any order; their indices, negative for
   * none; and how many values of the row are NaN or infinitely large: `[rows, 2·n + 1]`. `candidatesIn` reads it.
   */
  readonly largest?: (x: tf.Tensor2D, count: number) => tf.Tensor2D;
  /** The gradient in `gamma`. */
  normalizeRowsWeights?(x: tf.Tensor, dy: tf.Tensor, settings: RowNormSettings): tf.Tensor;
  /** Rotates `x`, `[batch, positions, heads · size]`, by angles `[positions or batch · positions, half]`, or back. */
  rotate(
    x: tf.Tensor3D,
    angles: {cosines: tf.Tensor; sines: tf.Tensor},
    settings: RotationSettings & {back: boolean},
  ): tf.Tensor;
  /**
   * The parts of packed queries, keys and values, the first two rotated, and the last two after earlier ones. Not
   * recorded.
   */
  readonly rotateAndAppend?: (
    packed: tf.Tensor3D,
    angles: {cosines: tf.Tensor; sines: tf.Tensor},
    past: EarlierPositions,
    settings: RotationSettings & Pick<AttentionSettings, 'keyValueHeads'>,
  ) => [q: tf.Tensor3D, k: tf.Tensor3D, v: tf.Tensor3D];
}

/**
 * Operations on one position of one text, at addresses in the memory of a backend. Most of them take less time than
 * tfjs's overhead for a tensor. They compute the same bits as the operations on tensors.
 */
export interface RowKernels {
  /** The address of a tensor's values; 0 for none. */
  at(tensor: tf.Tensor | null): number;
  /** Copies values from one address to another. */
  copy(from: number, to: number, count: number): void;
  /** Adds `count` values at one address to those at another. */
  add(from: number, to: number, count: number): void;
  /** `y[n] = x[k] · matrix[k, n]`. */
  multiply(x: number, matrix: number, sizes: {k: number; n: number}, y: number): void;
  gate(x: number, up: number, y: number, count: number, kind: GateKind): void;
  normalize(
    x: number,
    weights: {gamma: number; beta: number},
    sizes: {rows: number; width: number},
    settings: RowNormSettings,
    y: number,
  ): void;
  /** Rotates heads of `size` values by the angles of one position. `y` may be `x`. */
  rotate(
    x: number,
    angles: {cosines: Float32Array; sines: Float32Array},
    settings: RotationSettings & {size: number},
    y: number,
  ): void;
  /** The attention of the last position to all `keys`. `y` may be `q`. */
  attend(
    addresses: {q: number; k: number; v: number},
    sizes: {keys: number; size: number},
    settings: AttentionSettings,
    y: number,
  ): void;
}

const supplied = new PerBackend<TransformerKernels>();

/** Supplies the operations of a backend. */
export function supplyTransformerKernels(backend: string, supplier: () => TransformerKernels | undefined): void {
  supplied.supply(backend, supplier);
  supplyCrossEntropyKernels(backend, supplier);
}

/** The current backend's fused operations; if `undefined`, they are composed of tfjs ops. */
export function transformerKernels(): TransformerKernels | undefined {
  return supplied.current();
}

/** The memory layout of queries, keys and values. */
interface AttentionLayout {
  readonly q: tf.Tensor3D;
  readonly k: tf.Tensor3D;
  readonly v: tf.Tensor3D;
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  /** The values of a head. */
  readonly size: number;
  /** The values of a position, in the tensor of the queries and in that of the keys. */
  readonly widthQ: number;
  readonly widthK: number;
  /** The offsets of the first key head and the first value head in a position. */
  readonly fromK: number;
  readonly fromV: number;
}

/** Returns the layout of attention's inputs, in separate tensors or packed. */
export function attentionLayout(
  inputs: AttentionInputs,
  {heads, keyValueHeads}: Pick<AttentionSettings, 'heads' | 'keyValueHeads'>,
): AttentionLayout {
  const isPacked = 'packed' in inputs;
  const {q, k, v} = isPacked ? {q: inputs.packed, k: inputs.packed, v: inputs.packed} : inputs;
  const [batch, queries, widthQ] = q.shape;
  const [, keys, widthK] = k.shape;
  const size = widthQ / (isPacked ? heads + 2 * keyValueHeads : heads);
  const [fromK, fromV] = isPacked ? [heads * size, (heads + keyValueHeads) * size] : [0, 0];
  return {q, k, v, batch, queries, keys, size, widthQ, widthK, fromK, fromV};
}
