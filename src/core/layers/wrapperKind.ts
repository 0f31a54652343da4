import type * as tf from '@tensorflow/tfjs';

/** How a layer of this library treats its base: adapts, freezes, or trains it, in full or only its bias. */
export type WrapperKind = 'lora' | 'frozen' | 'bias' | 'trained';

/** Marks this library's layers: `import` and `require` make two copies of a class, and `instanceof` misses one. */
export const WRAPPER_KIND = Symbol.for('tfjs-lora.layer');

/** Which kind of layer of this library `layer` is, if any. */
export function wrapperKind(layer: tf.layers.Layer): WrapperKind | undefined {
  return (layer as {[WRAPPER_KIND]?: WrapperKind} | null)?.[WRAPPER_KIND];
}

/** The stock or custom layer that `layer` is or wraps. */
export function baseOf(layer: tf.layers.Layer): tf.layers.Layer {
  return wrapperKind(layer) === undefined ? layer : (layer as tf.layers.Layer & {baseLayer: tf.layers.Layer}).baseLayer;
}
