import type * as tf from '@tensorflow/tfjs';

/** What a decoder keeps of former positions while it writes a text, and where the new ones stand. */
export interface Decoding {
  /** The positions of this pass's tokens in their texts, `[batch, tokens]`, whole numbers from 0 on. */
  readonly positions: tf.Tensor2D;
  /** The position by which the first token of this pass is rotated. Negative for padding. */
  readonly from: number;
  /**
   * The keys and values of all positions, `[batch, positions, width]`, given those of this pass. They are copied for
   * the next pass, as this one frees its own.
   */
  extended(layer: tf.layers.Layer, keys: tf.Tensor3D, values: tf.Tensor3D): [keys: tf.Tensor3D, values: tf.Tensor3D];
}

let current: Decoding | undefined;

/** What the pass that runs now goes on from; `undefined` where a pass has all positions of a text. */
export function currentDecoding(): Decoding | undefined {
  return current;
}

/** Runs a pass through a model whose layers go on from what they kept. It must end before another begins. */
export function whileDecoding<T>(decoding: Decoding, f: () => T): T {
  const before = current;
  current = decoding;
  try {
    return f();
  } finally {
    current = before;
  }
}
