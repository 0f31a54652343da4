import type * as tf from '@tensorflow/tfjs';

/** Keyword arguments of `call`, such as `training` and `mask`. */
export type CallArgs = Record<string, unknown>;

/** Arguments of every layer of this library. */
export interface WrapperArgs {
  /** The layer to wrap. One that is built or in use is re-created from its config and shares its weights' buffers. */
  layer: tf.layers.Layer;
  /** Default: the name of the layer. */
  name?: string;
  /** As in `tf.layers.Layer`. Default: true. */
  trainable?: boolean;
  /** The `trainable` flag that the wrapped layer gets back when it is unwrapped. Default: the flag that it has. */
  baseTrainable?: boolean;
  /** Keep the wrapped layer's original weights beside those that train, so that they can be had back. Default: false. */
  keepOriginal?: boolean;
  /** What an adapted model remembers of its original, as text. Under the one key whose values tfjs does not respell in files. */
  record?: {name: string};
}
