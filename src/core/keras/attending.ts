import * as tf from '@tensorflow/tfjs';
import {along, differing, type KerasLayerArgs, type Operation, type OperationCall} from './layerOperation';

/**
 * Attention as Keras computes it, for `Attention`, `AdditiveAttention`, and the heads of a `MultiHeadAttention` with
 * masks. Its inputs are queries `[batch, n, width]`, values and keys `[batch, m, …]`, and masks of 0 and 1: `rows`
 * `[batch, n]`, `columns` `[batch, m]`, and `pairs` `[batch, n, m]` or `[batch, heads, n, m]`. A query that may attend
 * to no key attends to all of them.
 */
export const ATTENTION: Operation = {
  weights: (input, {has = [], score}) => [
    ...has.map(name => ({name, shape: score === 'additive' ? input.slice(-1) : []})),
    ...(score === 'concat' ? [{name: 'concat_score_weight', shape: []}] : []),
  ],
  shape: ([n = null, rows = null], args, inputs) => [n, rows, only('value', inputs, args)?.at(-1) ?? null],
  compute(query, args, call) {
    const {heads} = args;
    const value = only('value', call.inputs, args) as tf.Tensor;
    const key = only('key', call.inputs, args) ?? value;
    const [q, v, k] = [query, value, key].map(x => inHeads(x, heads ?? 1)) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const y = tf.matMul(tf.softmax(masked(scoresOf(q, k, args, call), args, call)), v);
    const [batch = 1, count = 1, n = 1, width = 1] = y.shape;
    const joined = tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [batch, n, count * width]);
    const rows = heads === undefined ? only('rows', call.inputs, args) : undefined;
    return rows === undefined ? joined : tf.mul(joined, tf.expandDims(differing(rows, 0), -1));
  },
};

function having<T>(role: string, inputs: readonly T[], {roles = []}: KerasLayerArgs): T[] {
  return inputs.filter((_, i) => roles[i] === role);
}

function only<T>(role: string, inputs: readonly T[], args: KerasLayerArgs): T | undefined {
  return having(role, inputs, args)[0];
}

/** `[batch, n, heads · width]` as `[batch, heads, n, width]`. */
function inHeads(x: tf.Tensor, heads: number): tf.Tensor {
  const [batch = 1, n = 1, width = 1] = x.shape;
  return tf.transpose(tf.reshape(x, [batch, n, heads, width / heads]), [0, 2, 1, 3]);
}

/** `[batch, heads, n, m]`. */
function scoresOf(
  q: tf.Tensor,
  k: tf.Tensor,
  {heads, score = 'dot'}: KerasLayerArgs,
  {weights}: OperationCall,
): tf.Tensor {
  const {scale = tf.scalar(1), concat_score_weight: weight = tf.scalar(1)} = weights;
  if (score === 'dot') {
    const factor = heads === undefined ? scale : tf.scalar(1 / Math.sqrt(q.shape[3] ?? 1));
    return tf.mul(tf.matMul(q, k, false, true), factor);
  }
  const sums = tf.add(tf.expandDims(q, 3), tf.expandDims(k, 2));
  return score === 'additive'
    ? tf.sum(tf.mul(scale.rank === 0 ? scale : along(scale, [-1], sums), tf.tanh(sums)), -1)
    : tf.mul(weight, tf.sum(tf.tanh(tf.mul(scale, sums)), -1));
}

/** How much lower scores are that a mask leaves out: next to it, scores are rounded away, as Keras does in 32 bits. */
const LOWEST = 1e9;
const LOWEST_HALF = 6e4;

/** Scores of which those that a mask leaves out are so low that they weigh nothing. */
function masked(scores: tf.Tensor, args: KerasLayerArgs, {inputs}: OperationCall): tf.Tensor {
  const [, , n = 1, m = 1] = scores.shape;
  const ones = (role: string, axes: number[]) =>
    having(role, inputs, args).map(mask => axes.reduce((x, axis) => tf.expandDims(x, axis), differing(mask, 0)));
  const masks = [
    ...(args.heads === undefined ? [] : ones('rows', [1, 3])),
    ...ones('columns', [1, 1]),
    ...ones('pairs', []).map(mask => (mask.rank === 4 ? mask : tf.expandDims(mask, 1))),
    ...(args.causal === true
      ? [tf.cast(tf.lessEqual(tf.range(0, m), tf.expandDims(tf.range(0, n), 1)), 'float32')]
      : []),
  ];
  const [first, ...more] = masks;
  const shown = first && more.reduce((product, mask) => tf.mul(product, mask), first);
  if (shown === undefined) {
    return scores;
  }
  const low = tf.mul(tf.sub(shown, 1), tf.backend().floatPrecision() === 16 ? LOWEST_HALF : LOWEST);
  return tf.add(args.replaces === true ? tf.mul(scores, shown) : scores, low);
}
