import type * as tf from '@tensorflow/tfjs';
import {type Deferred, deferredOf} from './deferred';

// Products that are not computed yet, and those of the same input that are then computed with them, in one launch.

/** A deferred product. */
export interface DeferredProduct extends Deferred {
  /** Computes this product and others, concatenated along the last axis; `undefined` if they do not fit. */
  joined(siblings: readonly DeferredProduct[]): tf.Tensor | undefined;
  /** The sum of the product and a tensor of its shape; `undefined` if that takes more launches. */
  plus(other: tf.Tensor): tf.Tensor | undefined;
}

/** A product that is not computed yet; `undefined` for any other tensor. */
export function productOf(x: tf.Tensor): DeferredProduct | undefined {
  const deferred = deferredOf(x);
  return deferred !== undefined && 'joined' in deferred ? (deferred as DeferredProduct) : undefined;
}

/**
 * Products of one input, computed together and concatenated along the last axis. A tape records them as one step.
 * `undefined` if one is computed already, or if they have to be computed one by one.
 */
export function joinedProducts(products: readonly tf.Tensor[]): tf.Tensor | undefined {
  const [first, ...siblings] = products.map(productOf);
  return siblings.every(product => product !== undefined) ? first?.joined(siblings) : undefined;
}
