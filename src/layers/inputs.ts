import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';

/** The input of a layer that takes just one, which tfjs may pass in a list. */
export function onlyTensor(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
  const [first, ...others] = Array.isArray(inputs) ? inputs : [inputs];
  if (first === undefined || others.length > 0) {
    throw new LoRAError(`Expected one input, got ${others.length + (first === undefined ? 0 : 1)}.`);
  }
  return first;
}

/** The input shape of a layer that takes just one, which tfjs may pass in a list. */
export function onlyShape(shapes: tf.Shape | tf.Shape[]): tf.Shape {
  return Array.isArray(shapes[0]) ? shapes[0] : (shapes as tf.Shape);
}
