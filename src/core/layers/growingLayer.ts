import type * as tf from '@tensorflow/tfjs';

/** A layer that stores the rows of tokens in another form than as floats, such as blocks, and takes further ones. */
interface GrowingLayer {
  /**
   * Its weight with further rows, each a copy of the stored row that is closest to the mean of some; an empty list
   * stands for all. Other values might have no exact form.
   */
  withRows(means: readonly (readonly number[])[]): {name: string; value: tf.Tensor};
}

/** The layer, if it stores rows in a special form. */
export function growing(layer: tf.layers.Layer): GrowingLayer | undefined {
  return 'withRows' in layer ? (layer as tf.layers.Layer & GrowingLayer) : undefined;
}
