import type * as tf from '@tensorflow/tfjs';

/** A layer that stores the rows of tokens in another form than floats, such as blocks, and can add rows. */
interface GrowingLayer {
  /**
   * Its weight with added rows. Each is a copy of the stored row that is closest to the mean of the given rows; an
   * empty list means all rows. Other values might not be representable exactly.
   */
  withRows(means: readonly (readonly number[])[]): {name: string; value: tf.Tensor};
}

/** The layer, if it stores rows in a special form. */
export function growing(layer: tf.layers.Layer): GrowingLayer | undefined {
  return 'withRows' in layer ? (layer as tf.layers.Layer & GrowingLayer) : undefined;
}
