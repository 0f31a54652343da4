import type * as tf from '@tensorflow/tfjs';

export interface Expected {
  /** `encoder.layer.0.attention.self.query.weight`. */
  fileName: string;
  /** The tensor to use if the file does not have that name. */
  orElse: string | undefined;
  /** Its shape in the file. */
  shape: number[];
  /** The name of the layer, and of its weight in `addWeight`. */
  layer: string;
  weight: string;
  /** The permutation of the axes from the file to the weight, if there is one. */
  axes: readonly number[] | undefined;
  /** Which of several equal parts of the first axis to use. Default: the whole tensor. */
  rowSlice: RowSlice | undefined;
}

/** One of several equal parts of a tensor, along its first axis in the file. */
export interface RowSlice {
  index: number;
  of: number;
  /** Whether current models of the hub have the joined tensor too. Default: only older files. */
  joined?: true;
}

/** What a model is built from, in addition to its config. */
export interface NetSources {
  /** Whether the files have a tensor, with or without the prefix of the body. */
  has: (fileName: string) => boolean;
  /** Whether a tied output head computes with the token embedding itself. */
  tied: boolean;
  /**
   * A layer for a weight that the files do not hold as floats, such as a quantized one; `undefined` for a stock layer.
   */
  make?: (fileName: string, className: 'Dense' | 'Embedding', args: StockArgs) => tf.layers.Layer | undefined;
}

/** The arguments of a stock layer. */
export type StockArgs = tf.serialization.ConfigDict & {name: string};
