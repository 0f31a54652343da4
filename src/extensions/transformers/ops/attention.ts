import * as tf from '@tensorflow/tfjs';
import {addAll} from '../../../core/ops/addAll';
import {dependsOnTrainable} from '../../../core/ops/recording';
import {
  type AttentionGradients,
  type AttentionInputs,
  type AttentionSettings,
  biasOf,
  reachOf,
  transformerKernels,
} from '../kernels/transformer';
import {changeScores} from '../kernels/scoreSettings';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';

/** The most scores (pairs of a query and a key) that are held at a time. */
const PAIRS = 2 ** 24;
/** Added to the scores of masked keys. */
const UNSEEN = -3e4; // 16-bit floats hold at most 65,504, and 0 · ∞ is NaN

/**
 * `softmax(scale·q·kᵀ + bias)·v` for each head, differentiable in `q`, `k`, `v` and the bias. With a soft cap the
 * scaled products are `cap·tanh(scale·q·kᵀ / cap)`. Keys hidden by `mask`, `causal` or `window` have no influence. A
 * query that may not attend to any key returns zeros.
 *
 * Only the inputs are kept. The backward pass computes the attention weights, `[batch, heads, queries, keys]`, again,
 * in blocks of queries. (Dao et al., "FlashAttention", arXiv 2205.14135, §3.)
 *
 * @param mask `[batch, keys]`, 0 for keys that no query attends to; `null` for none. `[batch, 2 · keys]` if rows hold
 *     several examples: followed by the number of the example of each key, whose queries attend to it alone.
 */
export function attention(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings): tf.Tensor3D {
  const isPacked = 'packed' in inputs;
  const bias = biasOf(inputs);
  const fixedBias = bias !== undefined && !dependsOnTrainable(bias);
  const projections: Record<string, tf.Tensor> = isPacked
    ? {x: inputs.packed}
    : {x: inputs.q, k: inputs.k, v: inputs.v};
  return runLazyOp({
    inputs: {...projections, ...(mask && {mask}), ...(bias && {bias})},
    save: {x: true, k: !isPacked, v: !isPacked, mask: mask !== null, bias: bias !== undefined},
    forward: () =>
      withExampleMask(inputs, mask, settings, (all, seen) => {
        return transformerKernels()?.attention(all, seen, settings) ?? composed(all, seen, settings);
      }),
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const three = {q: saved.x, k: saved.k, v: saved.v, ...(bias && {bias: saved.bias})};
      const savedInputs = (isPacked ? {packed: saved.x} : three) as AttentionInputs;
      const gradients = (gradientSettings: AttentionSettings) =>
        withExampleMask(
          savedInputs,
          mask === null ? null : saved.mask,
          gradientSettings,
          (all, seen) =>
            transformerKernels()?.attentionGradient(all, seen, dy, gradientSettings) ??
            composedGradient(all, seen, dy as tf.Tensor3D, gradientSettings),
        );
      const {dInputs, dBias} = gradients({...settings, fixedBias});
      const ofFixedBias = () => {
        const again = gradients(settings);
        tf.dispose([...again.dInputs]);
        return (again.dBias as () => tf.Tensor)();
      };
      const [dx, dk, dv] = isPacked && dInputs.length > 1 ? [tf.concat([...dInputs], 2)] : dInputs;
      return {
        x: () => dx as tf.Tensor,
        ...(dk && {k: () => dk}),
        ...(dv && {v: () => dv}),
        ...(bias && {bias: () => sumExamples((dBias ?? ofFixedBias)() as tf.Tensor4D, bias)}),
      };
    },
  }) as tf.Tensor3D;
}

/**
 * Computes with a bias that keeps the examples of a row apart, if there are several: `[batch, heads, queries, keys]`,
 * which is not kept between the passes.
 */
function withExampleMask<T>(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  settings: AttentionSettings,
  compute: (inputs: AttentionInputs, mask: tf.Tensor | null) => T,
): T {
  const positions = 'packed' in inputs ? inputs.packed.shape[1] : inputs.k.shape[1];
  if (mask === null || mask.shape[1] === positions) {
    return compute(inputs, mask);
  }
  const held: tf.Tensor[] = [];
  try {
    const [q, k, v, seen, bias] = tf.tidy(() => {
      const [seen, numbers] = tf.split(mask, 2, 1) as [tf.Tensor, tf.Tensor];
      const isOther = tf.notEqual(tf.expandDims(numbers, 2), tf.expandDims(numbers, 1)); // [batch, queries, keys]
      const hidden = tf.expandDims(tf.mul(tf.cast(isOther, 'float32'), UNSEEN), 1);
      const exampleBias = forEachExample(biasOf(inputs), mask.shape[0]) ?? tf.zeros([1, settings.heads, 1, 1]);
      const three = unpack(inputs, settings).map(x => tf.clone(x));
      return [...three, seen, tf.add(exampleBias, hidden)] as tf.Tensor[];
    }) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D, tf.Tensor, tf.Tensor];
    if (biasOf(inputs) === undefined) {
      held.push(q, k, v, seen, bias); // otherwise the gradient of the bias may be computed from them later
    }
    return compute({q, k, v, bias}, seen);
  } finally {
    tf.dispose(held);
  }
}

function unpack(inputs: AttentionInputs, {heads, keyValueHeads}: AttentionSettings): tf.Tensor3D[] {
  if ('packed' in inputs) {
    const size = inputs.packed.shape[2] / (heads + 2 * keyValueHeads);
    return tf.split(inputs.packed, [heads * size, keyValueHeads * size, keyValueHeads * size], 2);
  }
  return [inputs.q, inputs.k, inputs.v];
}

/**
 * By heads of the keys, with the queries of several heads that share keys stacked: `[batch, positions, heads · size]` →
 * `[batch, keyValueHeads, heads / keyValueHeads · positions, size]`.
 */
function byHead(x: tf.Tensor3D, heads: number, keyValueHeads: number): tf.Tensor4D {
  const [batch, positions, width] = x.shape;
  const size = width / heads;
  const group = heads / keyValueHeads;
  if (group === 1) {
    return tf.transpose(tf.reshape(x, [batch, positions, heads, size]), [0, 2, 1, 3]);
  }
  const apart = tf.transpose(tf.reshape(x, [batch, positions, keyValueHeads, group, size]), [0, 2, 3, 1, 4]);
  return tf.reshape(apart, [batch, keyValueHeads, group * positions, size]);
}

/** The inverse of `byHead`. */
function fromHeads(y: tf.Tensor4D, heads: number): tf.Tensor3D {
  const [batch, keyValueHeads, rows, size] = y.shape;
  const group = heads / keyValueHeads;
  const positions = rows / group;
  const together =
    group === 1
      ? tf.transpose(y, [0, 2, 1, 3])
      : tf.transpose(tf.reshape(y, [batch, keyValueHeads, group, positions, size]), [0, 3, 1, 2, 4]);
  return tf.reshape(together, [batch, positions, heads * size]);
}

/**
 * The keys that blocks of queries attend to: 1 or 0, `[batch or 1, 1, group · queries or 1, keys]`; `null` if to all
 * keys.
 */
function visibility(
  mask: tf.Tensor | null,
  {causal, window, heads, keyValueHeads}: AttentionSettings,
  {from, rows, queries, keys}: {from: number; rows: number; queries: number; keys: number},
): tf.Tensor | null {
  const ofMask = mask && tf.reshape(tf.cast(tf.notEqual(mask, 0), 'float32'), [mask.shape[0], 1, 1, keys]);
  if (!causal && window == null) {
    return ofMask;
  }
  const {behind, ahead} = reachOf({causal, window: window ?? null});
  const positions = tf.reshape(tf.range(keys - queries + from, keys - queries + from + rows), [rows, 1]);
  const distances = tf.sub(tf.range(0, keys), positions); // [rows, keys]
  const most = queries + keys; // 16-bit floats hold at most 65,504
  const isNear = tf.logicalAnd(
    tf.lessEqual(distances, Math.min(ahead, most)),
    tf.greaterEqual(distances, -Math.min(behind, most)),
  );
  const seen = tf.cast(isNear, 'float32');
  const group = heads / keyValueHeads;
  const ofOrder = tf.reshape(group === 1 ? seen : tf.tile(seen, [group, 1]), [1, 1, group * rows, keys]);
  return ofMask === null ? ofOrder : tf.mul(ofMask, ofOrder);
}

/** The weights of the keys for each query: `[batch, keyValueHeads, group · queries, keys]`. */
function weightsOf(products: tf.Tensor4D, seen: tf.Tensor | null, bias: tf.Tensor | undefined): tf.Tensor4D {
  const scores = bias === undefined ? products : tf.add<tf.Tensor4D>(products, bias);
  if (seen === null) {
    return tf.softmax(scores);
  }
  // If all keys are hidden, the softmax is uniform; the product makes it zero.
  return tf.mul(tf.softmax(tf.add(scores, tf.mul(tf.sub(1, seen), UNSEEN))), seen);
}

/** Blocks of queries, `[first, count]`, whose scores may be held at a time. */
function blocksOf(batch: number, heads: number, queries: number, keys: number): [from: number, rows: number][] {
  const most = Math.max(1, Math.floor(PAIRS / Math.max(1, batch * heads * keys)));
  return Array.from({length: Math.ceil(queries / most)}, (_, i) => [i * most, Math.min(most, queries - i * most)]);
}

interface Block {
  /** Some queries, scaled. */
  q: tf.Tensor4D;
  /** Their attention weights. */
  weights: tf.Tensor4D;
  /** The gradient in the scaled products of queries and keys, given that in the scores. */
  toProducts: (dScores: tf.Tensor4D) => tf.Tensor4D;
  /** Takes the same block of a tensor like the queries. */
  blockOf: (x: tf.Tensor3D) => tf.Tensor4D;
}

/** Computes a result for each block of queries, given all keys and values by head. */
function eachBlock<T extends tf.TensorContainer>(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  settings: AttentionSettings,
  compute: (block: Block, k: tf.Tensor4D, v: tf.Tensor4D) => T,
): T[] {
  const {heads, keyValueHeads, scale} = settings;
  const [allQ, allK, allV] = unpack(inputs, settings) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
  const [k, v] = [allK, allV].map(x => byHead(x, keyValueHeads, keyValueHeads)) as [tf.Tensor4D, tf.Tensor4D];
  const [batch, queries, width] = allQ.shape;
  const keys = allK.shape[1];
  const bias = forEachExample(biasOf(inputs), batch);
  return blocksOf(batch, heads, queries, keys).map(([from, rows]) =>
    tf.tidy(() => {
      const blockOf = (x: tf.Tensor3D) =>
        byHead(rows === queries ? x : tf.slice(x, [0, from, 0], [batch, rows, width]), heads, keyValueHeads);
      const q = tf.mul<tf.Tensor4D>(blockOf(allQ), scale);
      const added =
        bias &&
        tf.reshape(tf.slice(bias, [0, 0, from, 0], [bias.shape[0], heads, rows, keys]), [
          bias.shape[0],
          keyValueHeads,
          (heads / keyValueHeads) * rows,
          keys,
        ]);
      const {products, gradient} = changeScores(tf.matMul<tf.Tensor4D>(q, k, false, true), settings);
      const weights = weightsOf(products, visibility(mask, settings, {from, rows, queries, keys}), added);
      return compute({q, weights, toProducts: gradient, blockOf}, k, v);
    }),
  );
}

function forEachExample(bias: tf.Tensor | undefined, batch: number): tf.Tensor | undefined {
  const examples = bias?.shape[0] ?? 1;
  return bias && (examples === 1 || examples === batch ? bias : tf.tile(bias, [batch / examples, 1, 1, 1]));
}

/** The gradient of a bias from that of all examples, each of which has the heads and queries in one order. */
function sumExamples(ds: tf.Tensor4D, {shape: [examples = 1, heads = 1, , keys = 1]}: tf.Tensor): tf.Tensor4D {
  if (examples === ds.shape[0]) {
    return tf.reshape(ds, [examples, heads, -1, keys]);
  }
  const perExample = tf.reshape(ds, [-1, examples, ds.size / ds.shape[0]]);
  return tf.reshape(tf.sum(perExample, 0), [examples, heads, -1, keys]);
}

/** Blocks of queries, one after the other. */
function joinedBlocks(blocks: tf.Tensor3D[]): tf.Tensor3D {
  return blocks.length === 1 ? (blocks[0] as tf.Tensor3D) : tf.concat(blocks, 1);
}

function composed(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings): tf.Tensor {
  return tf.tidy(() =>
    joinedBlocks(
      eachBlock(inputs, mask, settings, ({weights}, _k, v) =>
        fromHeads(tf.matMul<tf.Tensor4D>(weights, v), settings.heads),
      ),
    ),
  );
}

function composedGradient(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor3D,
  settings: AttentionSettings,
): AttentionGradients {
  const {dInputs, dBias} = tf.tidy(() => {
    const {heads, keyValueHeads, scale, fixedBias} = settings;
    const bias = fixedBias ? undefined : biasOf(inputs);
    const parts = eachBlock(inputs, mask, settings, ({q, weights, toProducts, blockOf}, k, v): tf.Tensor[] => {
      const g = blockOf(dy);
      const dv = tf.matMul<tf.Tensor4D>(weights, g, true, false);
      const dWeights = tf.matMul(g, v, false, true);
      const delta = tf.sum(tf.mul(weights, dWeights), -1, true);
      const ds = tf.mul<tf.Tensor4D>(weights, tf.sub(dWeights, delta));
      const ofProducts = toProducts(ds);
      const dq = fromHeads(tf.mul<tf.Tensor4D>(tf.matMul<tf.Tensor4D>(ofProducts, k), scale), heads);
      const ofKeys = tf.matMul<tf.Tensor4D>(ofProducts, q, true, false);
      return [dq, ofKeys, dv, ...(bias ? [sumExamples(ds, bias)] : [])];
    }) as [tf.Tensor3D, tf.Tensor4D, tf.Tensor4D, tf.Tensor4D?][];
    const dq = joinedBlocks(parts.map(([ofQ]) => ofQ));
    const dk = fromHeads(addAll(parts.map(([, ofK]) => ofK)), keyValueHeads);
    const dv = fromHeads(addAll(parts.map(([, , ofV]) => ofV)), keyValueHeads);
    const biases = parts.flatMap(([, , , blockBias]) => blockBias ?? []);
    return {
      dInputs: 'packed' in inputs ? [tf.concat([dq, dk, dv], 2)] : [dq, dk, dv],
      dBias: biases.length === 0 ? undefined : tf.concat(biases, 2),
    };
  });
  return {dInputs, ...(dBias && {dBias: () => dBias})};
}
