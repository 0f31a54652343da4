import type * as tf from '@tensorflow/tfjs';

/** A weight of a model, and where it stands in a file of the hub. */
export interface Expected {
  /** `encoder.layer.0.attention.self.query.weight`. */
  fileName: string;
  /** What serves where the file has nothing of that name. */
  orElse: string | undefined;
  /** Its shape in the file. */
  shape: number[];
  /** The layer, by its name, and the weight of it, by the name in `addWeight`. */
  layer: string;
  weight: string;
  /** The order in which the axes of the file are those of the weight, if it is another one. */
  axes: readonly number[] | undefined;
  /** Which of several equal parts of the first axis it is of what serves. Default: all of it. */
  part: Part | undefined;
}

/** One of several equal parts of a tensor, along its first axis in the file. */
export interface Part {
  index: number;
  of: number;
  /** Whether the hub's models of today have the whole too. Default: older files alone. */
  joined?: true;
}

/** What a model is made of beside its config. */
export interface NetSources {
  /** Whether the files have a tensor of a name, with or without the prefix of the body. */
  has: (fileName: string) => boolean;
  /** Whether a tied output head computes with the token embedding itself. */
  tied: boolean;
  /** A layer whose weight of that name the files have in another form than numbers; `undefined` for a stock layer. */
  make?: (fileName: string, className: 'Dense' | 'Embedding', args: StockArgs) => tf.layers.Layer | undefined;
}

/** The arguments of a stock layer. */
export type StockArgs = tf.serialization.ConfigDict & {name: string};
