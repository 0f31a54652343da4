import type * as tf from '@tensorflow/tfjs';
import type {Linear} from '../ops/factors';
import type {LayerEntry} from '../../platform/tfjs/configs';

/**
 * A layer that computes with a weight of another layer, such as the output head of a language model, which is the
 * transposed token embedding. Both use one tensor; a file holds it once, and its gradient is the sum of both uses.
 */
export interface BorrowingLayer extends tf.layers.Layer {
  /** The layer that has the weight, once it is known. */
  readonly lender: tf.layers.Layer | undefined;
  /** Finds that layer among those that a symbolic input comes from. */
  borrow(inputs: unknown): void;
  /** A layer with its own weight that computes the same, for when the two separate. */
  ownEntry(): LayerEntry;
  giveOwn(layer: tf.layers.Layer): void;
  /** Why the weight cannot be trained by this layer's name, in whole sentences. */
  readonly whyUntrained: string;
}

/** A token embedding that is not stored as floats, such as a quantized one, as other layers compute with it. */
export interface LentTable {
  readonly variable: tf.LayerVariable;
  /** `[vocabulary, width]`. */
  readonly shape: [number, number];
  /** All of its values, as a new tensor. */
  numbers(): tf.Tensor2D;
  /** The product with the transposed table, `[n, width] · [vocabulary, width]ᵀ`; with any other matrix untransposed. */
  transposedProduct(): Linear;
}

/** The table that a layer stores in another form, if it does. */
export function lentTable(layer: tf.layers.Layer): LentTable | undefined {
  return (layer as {lentTable?: LentTable}).lentTable;
}

/** Why the weight of a layer cannot train, in whole sentences; `undefined` if it can. */
export function whyUntrained(layer: tf.layers.Layer): string | undefined {
  return (layer as Partial<BorrowingLayer>).whyUntrained;
}

/** Like `whyUntrained`, for a layer with its own weight. A layer that borrows one may have a trainable bias. */
export function whyFixed(layer: tf.layers.Layer): string | undefined {
  return 'lender' in layer ? undefined : whyUntrained(layer);
}

/** A layer as one that borrows a weight, if it does. */
export function borrowing(layer: tf.layers.Layer): BorrowingLayer | undefined {
  return 'lender' in layer ? (layer as BorrowingLayer) : undefined;
}
