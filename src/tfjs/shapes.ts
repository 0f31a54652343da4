import type * as tf from '@tensorflow/tfjs';

/** The shapes of the inputs of a layer, of which tfjs passes a single one by itself. */
export function shapesOf(inputShape: tf.Shape | tf.Shape[]): [tf.Shape, ...tf.Shape[]] {
  return (Array.isArray(inputShape[0]) ? inputShape : [inputShape]) as [tf.Shape, ...tf.Shape[]];
}
