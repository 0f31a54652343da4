import type * as tf from '@tensorflow/tfjs';

/** The state of text generation: cached keys and values, and the positions of the new tokens. */
export interface Decoding {
  /**
   * The positions of the tokens of this pass in their own texts, `[batch, tokens]`: integers from 0 to the last
   * position of the model.
   */
  readonly positions: tf.Tensor2D;
  /** The position by which the first token of this pass is rotated. Negative for padding. */
  readonly from: number;
  /**
   * Adds the keys and values of this pass to the cached ones and returns those of all positions, `[batch, positions,
   * width]`. The next pass gets copies, because this one frees its own.
   */
  extended(layer: tf.layers.Layer, keys: tf.Tensor3D, values: tf.Tensor3D): [keys: tf.Tensor3D, values: tf.Tensor3D];
}

let current: Decoding | undefined;

/** The state that the current pass continues; `undefined` if a pass computes all positions. */
export function currentDecoding(): Decoding | undefined {
  return current;
}

/** Runs a pass through a model whose layers continue from a cache. It must end before another one begins. */
export function whileDecoding<T>(decoding: Decoding, f: () => T): T {
  const before = current;
  current = decoding;
  try {
    return f();
  } finally {
    current = before;
  }
}
