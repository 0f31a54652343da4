import * as tf from '@tensorflow/tfjs';
import {addAll} from '../ops/addAll';
import {asMatrix, lastAxis} from '../ops/factors';

/** An update `strength·a·b` as matrices: `a`: `[m, r]`, `b`: `[r, n]`. */
export interface Term {
  a: tf.Tensor2D;
  b: tf.Tensor2D;
  /** Its scaling times its weight in the sum. */
  strength: number;
  /** Its scaling alone. */
  scaling: number;
  /** Its weight alone. */
  weight: number;
}

/** A product `a·b`. */
export interface Product {
  a: tf.Tensor2D;
  b: tf.Tensor2D;
}

/** Merges tensors of several adapters for the same weights. */
export type Merging = (tensors: readonly tf.Tensor[], weights: readonly number[]) => tf.Tensor;

/** What decides the majority sign of an entry: the sum of the values, or their count. */
export type MajoritySign = 'total' | 'frequency';

/** The factors of a weight as matrices. */
export function matricesOf({a, b}: {a: tf.Tensor; b: tf.Tensor}): Product {
  return {a: asMatrix(a), b: tf.reshape(b, [lastAxis(a.shape), -1])};
}

/** The exact sum of updates, as one product: concatenated factors, with the strengths in `b`. */
export function sumOfProducts(terms: readonly Term[]): Product {
  return tf.tidy(() => ({
    a: tf.concat(
      terms.map(({a}) => a),
      1,
    ),
    b: tf.concat(
      terms.map(({b, strength}) => tf.mul<tf.Tensor2D>(b, strength)),
      0,
    ),
  }));
}

/** A product with an inner size of at most `min(m, n)`, without loss: a larger one becomes `(a·b)·I` or `I·(a·b)`. */
export function reduced({a, b}: Product): Product {
  const [m, n] = [a.shape[0], b.shape[1]];
  if (a.shape[1] <= Math.min(m, n)) {
    return {a, b};
  }
  const product = tf.matMul<tf.Tensor2D>(a, b);
  return m <= n ? {a: tf.eye(m), b: product} : {a: product, b: tf.eye(n)};
}

/** Merges factors separately, as PEFT does: `√|strength|` goes into both, its sign into `b`. */
export function mergeFactors(terms: readonly Term[], merge: Merging): Product {
  const roots = terms.map(({strength}) => Math.sqrt(Math.abs(strength)));
  return tf.tidy(() => ({
    a: merge(
      terms.map(({a}) => a),
      roots,
    ) as tf.Tensor2D,
    b: merge(
      terms.map(({b}) => b),
      roots.map((root, i) => ((terms[i]?.strength ?? 0) < 0 ? -root : root)),
    ) as tf.Tensor2D,
  }));
}

/** Merges the updates themselves, `[m, n]`. */
export function mergeUpdates(terms: readonly Term[], merge: Merging): tf.Tensor2D {
  return tf.tidy(
    () =>
      merge(
        terms.map(({a, b, scaling}) => tf.mul(tf.matMul(a, b), scaling)),
        terms.map(({weight}) => weight),
      ) as tf.Tensor2D,
  );
}

/**
 * TIES (arXiv 2306.01708, §4): keeps the entries of each tensor with the largest magnitude, lets a majority decide the
 * sign of each entry, and averages those that agree.
 */
export function ties(density: number, majoritySign: MajoritySign): Merging {
  return (tensors, weights) =>
    tf.tidy(() => {
      const trimmed = tensors.map(tensor => trim(tensor, density));
      const votes = majoritySign === 'total' ? trimmed : trimmed.map(tensor => tf.sign(tensor));
      const elected = tf.sub(tf.mul(tf.cast(tf.greaterEqual(addAll(votes), 0), 'float32'), 2), 1); // 1 or −1
      const agreeing = trimmed.map(tensor => tf.cast(tf.equal(tf.sign(tensor), elected), 'float32'));
      const total = addAll(
        trimmed.map((tensor, i) => tf.mul(tf.mul(tensor, agreeing[i] as tf.Tensor), weights[i] ?? 0)),
      );
      return tf.div(total, tf.maximum(addAll(agreeing), 1));
    });
}

/** Keeps the entries of a tensor with the largest magnitude, the share `density` of all; the others become 0. */
function trim(tensor: tf.Tensor, density: number): tf.Tensor {
  const flat = tf.reshape(tensor, [-1]);
  const {indices} = tf.topk(tf.abs(flat), Math.max(1, Math.floor(density * flat.size)));
  const mask = tf.scatterND(tf.expandDims(indices, 1), tf.onesLike(indices), [flat.size]);
  return tf.reshape(tf.mul(flat, tf.cast(mask, 'float32')), tensor.shape);
}

/** DARE (arXiv 2311.03099, §3.2): drops entries at random, multiplies the others by `1 / density`, and adds up. */
export function dare(density: number, seed: number | undefined): Merging {
  let next = seed;
  return (tensors, weights) =>
    tf.tidy(() =>
      addAll(
        tensors.map((tensor, i) => {
          const chance = tf.randomUniform(tensor.shape, 0, 1, 'float32', next);
          next = next === undefined ? undefined : next + 1;
          const mask = tf.cast(tf.less(chance, density), 'float32');
          return tf.mul(tf.mul(tensor, mask), (weights[i] ?? 0) / density);
        }),
      ),
    );
}
