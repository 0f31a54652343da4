import type * as tf from '@tensorflow/tfjs';

/** What a decoder keeps of former places while it writes a text, and where the new ones stand. */
export interface Decoding {
  /** The places of the tokens of this pass in their own texts, `[batch, tokens]`: whole numbers from 0 on. */
  readonly places: tf.Tensor2D;
  /** How many places there are so far, with those of this pass. */
  readonly total: number;
  /** The keys and values that a layer had so far, `[batch, places, width]`; `undefined` at the start. */
  pastOf(layer: tf.layers.Layer): readonly [keys: tf.Tensor3D, values: tf.Tensor3D] | undefined;
  /** Takes those of all places, this pass's too. They are copied, as the pass frees its own. */
  keep(layer: tf.layers.Layer, keys: tf.Tensor3D, values: tf.Tensor3D): void;
}

let current: Decoding | undefined;

/** What the pass that runs now goes on from; `undefined` where a pass has all places of a text. */
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
