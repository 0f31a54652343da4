import type * as tf from '@tensorflow/tfjs';
import type {AttentionInputs, AttentionSettings} from './transformer';

/** Where queries, keys and values stand in their tensors. */
export interface AttentionLayout {
  readonly q: tf.Tensor3D;
  readonly k: tf.Tensor3D;
  readonly v: tf.Tensor3D;
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  /** How many numbers a head has. */
  readonly size: number;
  /** How many numbers a place has, in the tensor of the queries and in that of the keys. */
  readonly widthQ: number;
  readonly widthK: number;
  /** Where the keys and the values of the first head begin in a place. */
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
