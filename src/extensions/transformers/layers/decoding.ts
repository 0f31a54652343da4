import * as tf from '@tensorflow/tfjs';
import type {EarlierPositions} from '../kernels/transformer';

/** Keys and values, `[batch, positions, width]` each. */
export type KeysAndValues = [keys: tf.Tensor3D, values: tf.Tensor3D];

/** The last positions, as far as convolutions need them. No others are kept, so none of these can be dropped. */
export class RecentPositions {
  private readonly cache = new Map<tf.layers.Layer, tf.Tensor3D>();

  /**
   * Returns the values of the last `count` positions before this pass, followed by those of this pass, `[batch, count +
   * positions, width]`, and caches the last `count` of them. Zeros come before a text.
   */
  preceding(layer: tf.layers.Layer, x: tf.Tensor3D, count: number): tf.Tensor3D {
    const [batch, , width] = x.shape;
    const former = this.cache.get(layer);
    const all = tf.concat([former ?? tf.zeros<tf.Rank.R3>([batch, count, width]), x], 1);
    former?.dispose();
    this.cache.set(layer, tf.keep(tf.slice3d(all, [0, all.shape[1] - count, 0], [batch, count, width])));
    return all;
  }

  /** Replaces what is cached by what `f` makes of it. */
  replace(f: (x: tf.Tensor3D) => tf.Tensor3D): void {
    for (const [layer, former] of this.cache) {
      this.cache.set(layer, f(former));
      former.dispose();
    }
  }

  get tensors(): tf.Tensor[] {
    return [...this.cache.values()];
  }

  clear(): void {
    tf.dispose(this.tensors);
    this.cache.clear();
  }
}

/** The state of text generation: what layers cache, and the positions of the new tokens. */
export interface Decoding {
  readonly recent: RecentPositions;
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

/** The state of the current pass, on the engine that all copies of the library in a process share. */
const CURRENT = Symbol.for('tfjs-lora.decoding');

function engine(): {[CURRENT]?: Decoding | undefined} {
  return tf.engine() as object;
}

/** The state that the current pass continues; `undefined` if a pass computes all positions. */
export function currentDecoding(): Decoding | undefined {
  return engine()[CURRENT];
}

/** Runs a pass through a model whose layers continue from a cache. It must end before another one begins. */
export function whileDecoding<T>(decoding: Decoding, f: () => T): T {
  const owner = engine();
  const before = owner[CURRENT];
  owner[CURRENT] = decoding;
  try {
    return f();
  } finally {
    owner[CURRENT] = before;
  }
}

/** `x` after the last `count` cached positions; zeros come first where there are fewer. */
export function appendToCache(cached: tf.Tensor3D | undefined, count: number, x: tf.Tensor3D): tf.Tensor3D {
  if (cached === undefined) {
    return x;
  }
  const [batch, had, width] = cached.shape;
  const more = count > had ? [tf.zeros<tf.Rank.R3>([batch, count - had, width])] : [];
  const former = count < had ? tf.slice3d(cached, [0, had - count, 0], [batch, count, width]) : cached;
  return tf.concat([...more, former, x], 1);
}
