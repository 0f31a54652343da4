import type * as tf from '@tensorflow/tfjs';

/** How many positions a table of them has, of this copy of the library or another. `undefined` for other layers. */
export function positionLimitOf(layer: tf.layers.Layer): number | undefined {
  return layer.getClassName() === 'tfjs-lora/transformers>PositionEmbedding'
    ? (layer as tf.layers.Layer & {readonly positions: number}).positions
    : undefined;
}
