import * as tf from '@tensorflow/tfjs';
import {TENSOR_OPS, type TransformerOps} from '../../../core/ops/formulaOps';

/** A pooling that is a weighted sum of the positions. */
export type WeightedPooling = 'mean' | 'first' | 'last' | 'meanSqrtLength' | 'weightedMean';

/** How the states of a text become one vector. */
export type StatePooling = WeightedPooling | 'max';

export const STATE_POOLINGS: readonly StatePooling[] = [
  ...(['mean', 'first', 'last', 'max', 'meanSqrtLength', 'weightedMean'] as const),
];

/**
 * The weight of each position in the result, `[batch, positions]`. `seen` is 1 for the positions that count, 0 for
 * others; if none counts, all weights are 0.
 */
export function poolingWeights<T>(
  o: Pick<TransformerOps<T, unknown>, 'shares' | 'sum' | 'mul' | 'cumsum' | 'float' | 'equal'>,
  mode: 'mean' | 'first' | 'last',
  seen: T,
): T {
  const sum = o.sum(seen, [1]);
  // The last position is the one at which the running count reaches the total.
  return mode === 'mean'
    ? o.shares(seen, sum)
    : o.mul(seen, o.float(o.equal(o.cumsum(seen, 1, mode === 'first'), sum)));
}

/**
 * The same for all poolings. `weightedMean` weights positions by 1, 2, 3 and so on, and `meanSqrtLength` divides the
 * sum by the square root of their number.
 */
function weightsOf(mode: WeightedPooling, seen: tf.Tensor): tf.Tensor {
  switch (mode) {
    case 'meanSqrtLength':
      return tf.divNoNan(seen, tf.sqrt(tf.sum(seen, 1, true)));
    case 'weightedMean': {
      const shares = tf.mul(seen, tf.range(1, (seen.shape[1] as number) + 1));
      return tf.divNoNan(shares, tf.sum(shares, 1, true));
    }
    default:
      return poolingWeights(POOLING_OPS, mode, seen);
  }
}

const POOLING_OPS = {
  ...TENSOR_OPS,
  shares: (counts: tf.Tensor, sum: tf.Tensor) => tf.divNoNan<tf.Tensor>(counts, sum),
};

/** Pools states `[batch, positions, width]` over the positions that count → `[batch, width]`. */
export function poolStates(states: tf.Tensor3D, seen: tf.Tensor, mode: StatePooling): tf.Tensor2D {
  const [batch, positions, width] = states.shape;
  if (mode !== 'max') {
    const weights = tf.reshape<tf.Rank.R3>(weightsOf(mode, seen), [batch, 1, positions]);
    return tf.reshape(tf.matMul(weights, states), [batch, width]);
  }
  const counts = tf.cast(tf.reshape(seen, [batch, positions, 1]), 'bool');
  const most = tf.max(tf.where(counts, states, tf.fill(states.shape, -Infinity)), 1);
  return tf.where(tf.any(counts, 1), most, tf.zerosLike(most)) as tf.Tensor2D;
}
