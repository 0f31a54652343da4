import type * as tf from '@tensorflow/tfjs';
import {PerBackend} from '../../../backends/shared/capabilities';

/** An activation that stands by itself or as a gate: exact gelu, gelu by tanh, silu. */
export type GateKind = 'gelu' | 'gelu_tanh' | 'silu';

/** What attention depends on, beside its tensors. */
export interface AttentionSettings {
  /** How many heads the queries have. */
  readonly heads: number;
  /** How many the keys and values have, each for `heads / keyValueHeads` heads of queries. */
  readonly keyValueHeads: number;
  /** What the products of queries and keys are multiplied with. */
  readonly scale: number;
  /** Whether each query sees the keys up to its own position alone; the last query has the position of the last key. */
  readonly causal: boolean;
  /** A query sees the keys less than so many positions from its own. Default: all. */
  readonly window?: number | null;
}

/** More positions than a sequence has. */
const FAR = 2 ** 30;

/** How many positions behind its own and ahead of it a query sees. The last query has the position of the last key. */
export function reachOf({causal, window}: Pick<AttentionSettings, 'causal' | 'window'>): {
  behind: number;
  ahead: number;
} {
  const reach = Math.min(window ?? FAR, FAR) - 1;
  return {behind: reach, ahead: causal ? 0 : reach};
}

/** Queries, keys and values, by themselves, `[batch, positions, heads · size]`, or beside each other in one tensor. */
export type AttentionInputs =
  | {
      readonly q: tf.Tensor3D;
      readonly k: tf.Tensor3D;
      readonly v: tf.Tensor3D;
      /** What is added to the scaled products of queries and keys, `[1 or batch, heads, queries, keys]`. */
      readonly bias?: tf.Tensor;
    }
  | {readonly packed: tf.Tensor3D};

/** What is added to the products, if anything is. */
export function biasOf(inputs: AttentionInputs): tf.Tensor | undefined {
  return 'packed' in inputs ? undefined : inputs.bias;
}

/** The gradients of attention, for that of its result. */
export interface AttentionGradients {
  /** In `q`, `k` and `v`, or in the one packed tensor. */
  readonly ofInputs: readonly tf.Tensor[];
  /** In the bias, if there is one. It need not be asked for. */
  readonly ofBias?: () => tf.Tensor;
}

/** How pairs of values are rotated by the angles of their positions. */
export interface RotationSettings {
  readonly heads: number;
  /** Only the first so many heads are rotated. Default: all. */
  readonly rotatedHeads?: number;
  /** `(2j, 2j + 1)` instead of `(j, j + half)`. */
  readonly interleaved: boolean;
}

/** How rows are normalized. */
export interface RowNormSettings {
  /** Whether the mean is subtracted, as in a layer normalization; if not, it is an RMS normalization. */
  readonly centered: boolean;
  readonly epsilon: number;
}

/** The weights of a normalization along the last axis, `[width]` each. */
export interface RowNormWeights {
  gamma: tf.Tensor;
  /** `null` where nothing is added. */
  beta: tf.Tensor | null;
}

/** Operations of transformers that a backend has in one launch each. The last bits are not those of a composition. */
export interface TransformerKernels {
  /** Whether `rotate` takes `rotatedHeads`. */
  readonly rotatesSomeHeads?: boolean;
  /**
   * `softmax(scale·q·kᵀ)·v`. `mask`, `[batch, keys]`, is 0 for keys that nobody sees. A query that sees nothing gets
   * zeros. `undefined` for what is too large.
   */
  attention(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings): tf.Tensor | undefined;
  attentionGradient(
    inputs: AttentionInputs,
    mask: tf.Tensor | null,
    dy: tf.Tensor,
    settings: AttentionSettings,
  ): AttentionGradients | undefined;
  /**
   * The mean of `log Σ exp(z) − z[target]` over the rows whose target is not `ignored`. A target that counts and is no
   * class makes the mean NaN and the gradient zero.
   */
  crossEntropy(logits: tf.Tensor, targets: tf.Tensor, ignored: number): tf.Tensor;
  crossEntropyGradient(logits: tf.Tensor, targets: tf.Tensor, dy: tf.Tensor, ignored: number): tf.Tensor;
  /** `f(x)·up`, or `f(x)`. */
  gate(x: tf.Tensor, up: tf.Tensor | null, kind: GateKind): tf.Tensor;
  /** The gradients in `x` and, if there is one, `up`. */
  gateGradient(x: tf.Tensor, up: tf.Tensor | null, dy: tf.Tensor, kind: GateKind): tf.Tensor[];
  /** The normalized rows of `x`, or of `x + residual`; then the sum comes second. */
  normalizeRows(
    x: tf.Tensor,
    residual: tf.Tensor | null,
    weights: RowNormWeights,
    settings: RowNormSettings,
  ): tf.Tensor[];
  normalizeRowsGradient(x: tf.Tensor, gamma: tf.Tensor, dy: tf.Tensor, settings: RowNormSettings): tf.Tensor;
  /** The gradient in `gamma`. */
  normalizeRowsWeights?(x: tf.Tensor, dy: tf.Tensor, settings: RowNormSettings): tf.Tensor;
  /** `x`, `[batch, positions, heads · size]`, rotated by angles `[positions or batch · positions, half]`, or back. */
  rotate(
    x: tf.Tensor3D,
    angles: {cosines: tf.Tensor; sines: tf.Tensor},
    settings: RotationSettings & {back: boolean},
  ): tf.Tensor;
}

const supplied = new PerBackend<TransformerKernels>();

/** Supplies the operations of a backend. */
export function supplyTransformerKernels(backend: string, supplier: () => TransformerKernels | undefined): void {
  supplied.supply(backend, supplier);
}

/** The operations that the current backend has in one launch; `undefined` where they are composed of tfjs's own. */
export function transformerKernels(): TransformerKernels | undefined {
  return supplied.current();
}

/** Where queries, keys and values stand in their tensors. */
interface AttentionLayout {
  readonly q: tf.Tensor3D;
  readonly k: tf.Tensor3D;
  readonly v: tf.Tensor3D;
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  /** How many numbers a head has. */
  readonly size: number;
  /** How many numbers a position has, in the tensor of the queries and in that of the keys. */
  readonly widthQ: number;
  readonly widthK: number;
  /** Where the keys and the values of the first head begin in a position. */
  readonly fromK: number;
  readonly fromV: number;
}

/** The layout of attention's inputs, in tensors of their own or beside each other in one. */
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
