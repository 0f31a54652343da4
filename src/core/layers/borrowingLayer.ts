import type * as tf from '@tensorflow/tfjs';
import type {Linear} from '../ops/factors';
import type {LayerEntry} from '../../platform/tfjs/configs';

/**
 * A layer that computes with a weight of another layer of its model, and so has none for it: the head of a language
 * model that is the transposed token embedding. One tensor serves both; a file holds it once, and a gradient is the sum
 * of those of both uses.
 */
export interface BorrowingLayer extends tf.layers.Layer {
  /** The layer that has the weight, once it is known. */
  readonly lender: tf.layers.Layer | undefined;
  /** Finds that layer among those that a symbolic input comes from. */
  borrow(inputs: unknown): void;
  /** A layer with a weight of its own that computes the same, for where the two part. */
  ownEntry(): LayerEntry;
  /** Gives such a layer its weights. */
  giveOwn(layer: tf.layers.Layer): void;
  /** Why the weight cannot be trained by this layer's name, as the rest of a sentence about it. */
  readonly whyUntrained: string;
}

/** A token embedding that is not held as floats, such as a quantized one, as other layers compute with it. */
export interface LentTable {
  /** The variable that holds it. */
  readonly variable: tf.LayerVariable;
  /** `[vocabulary, width]`. */
  readonly shape: [number, number];
  /** All of its values, as a new tensor. */
  numbers(): tf.Tensor2D;
  /** The product with the transposed table, `[n, width] · [vocabulary, width]ᵀ`; with any other matrix as it is. */
  transposedProduct(): Linear;
}

/** The table that a layer has in another form, if it does. */
export function lentTable(layer: tf.layers.Layer): LentTable | undefined {
  return (layer as {lentTable?: LentTable}).lentTable;
}

/** Why the weight of a layer cannot train, as the rest of a sentence about it; `undefined` if it can. */
export function whyUntrained(layer: tf.layers.Layer): string | undefined {
  return (layer as Partial<BorrowingLayer>).whyUntrained;
}

/** As `whyUntrained`, of a layer with a weight of its own. What borrows one may have a bias that trains. */
export function whyFixed(layer: tf.layers.Layer): string | undefined {
  return 'lender' in layer ? undefined : whyUntrained(layer);
}

/** A layer as one that borrows a weight, if it does. */
export function borrowing(layer: tf.layers.Layer): BorrowingLayer | undefined {
  return 'lender' in layer ? (layer as BorrowingLayer) : undefined;
}
