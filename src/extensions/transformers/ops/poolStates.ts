import * as tf from '@tensorflow/tfjs';

/** A pooling that is a weighted sum of the positions. */
export type WeightedPooling = 'mean' | 'first' | 'last' | 'meanSqrtLength' | 'weightedMean';

/** How the states of a text become one vector. */
export type StatePooling = WeightedPooling | 'max';

export const STATE_POOLINGS: readonly StatePooling[] = [
  ...(['mean', 'first', 'last', 'max', 'meanSqrtLength', 'weightedMean'] as const),
];

/**
 * The weight of each position in the result, `[batch, positions]`. `seen` is 1 for the positions that count, 0 for
 * others; if none counts, all weights are 0. `weightedMean` weights positions by 1, 2, 3 and so on, and
 * `meanSqrtLength` divides the sum by the square root of their number.
 */
export function poolingWeights(mode: WeightedPooling, seen: tf.Tensor): tf.Tensor {
  switch (mode) {
    case 'mean':
      return tf.divNoNan(seen, tf.sum(seen, 1, true));
    case 'meanSqrtLength':
      return tf.divNoNan(seen, tf.sqrt(tf.sum(seen, 1, true)));
    case 'weightedMean': {
      const shares = tf.mul(seen, tf.range(1, (seen.shape[1] as number) + 1));
      return tf.divNoNan(shares, tf.sum(shares, 1, true));
    }
    case 'first':
    case 'last': {
      // The last position is the one at which the running count reaches the total.
      const order = mode === 'last' ? tf.cumsum(seen, 1) : tf.cumsum(seen, 1, false, true);
      return tf.mul(seen, tf.cast(tf.equal(order, tf.sum(seen, 1, true)), 'float32'));
    }
  }
}

/** Pools states `[batch, positions, width]` over the positions that count → `[batch, width]`. */
export function poolStates(states: tf.Tensor3D, seen: tf.Tensor, mode: StatePooling): tf.Tensor2D {
  const [batch, positions, width] = states.shape;
  if (mode !== 'max') {
    const weights = tf.reshape<tf.Rank.R3>(poolingWeights(mode, seen), [batch, 1, positions]);
    return tf.reshape(tf.matMul(weights, states), [batch, width]);
  }
  const counts = tf.cast(tf.reshape(seen, [batch, positions, 1]), 'bool');
  const most = tf.max(tf.where(counts, states, tf.fill(states.shape, -Infinity)), 1);
  return tf.where(tf.any(counts, 1), most, tf.zerosLike(most)) as tf.Tensor2D;
}
