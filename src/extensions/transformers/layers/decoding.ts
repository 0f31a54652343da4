import type * as tf from '@tensorflow/tfjs';
import type {EarlierPositions} from '../kernels/transformer';

/** Keys and values, `[batch, positions, width]` each. */
export type KeysAndValues = [keys: tf.Tensor3D, values: tf.Tensor3D];

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
   * Caches and returns the keys and values of all positions, `[batch, positions, width]`. The next pass gets copies,
   * because this one frees its own.
   *
   * @param append returns the earlier ones followed by those of this pass.
   */
  extended(layer: tf.layers.Layer, append: (past: EarlierPositions) => KeysAndValues): KeysAndValues;
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
