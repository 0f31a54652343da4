import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';

/** How many numbers layers may still make weights of. */
export interface WeightLimit {
  left: number;
}

type AddWeight = (this: tf.layers.Layer, name: string, shape: tf.Shape, ...others: unknown[]) => tf.LayerVariable;

/**
 * Runs `f`, in which the weights of layers start at zero, whatever their initializers say, and take no more numbers
 * than a limit allows.
 *
 * All layers of tfjs make their weights by the one function that is replaced for the time of the call. No config tells
 * how large a weight will be, and the layers inside of others are not all known before they are built.
 *
 * @throws LoRAError before a weight is made that would exceed the limit.
 */
export function withWeightLimit<T>(limit: WeightLimit, f: () => T): T {
  const prototype = tf.layers.Layer.prototype as unknown as {addWeight: AddWeight};
  const {addWeight} = prototype;
  const zeros = tf.initializers.zeros();
  prototype.addWeight = function (name, shape, dtype, _initializer, ...others) {
    limit.left -= tf.util.sizeFromShape(shape as number[]) + 1;
    if (!(limit.left >= 0)) {
      throw new LoRAError(`its weight ${name} would be of shape [${shape.map(String).join(', ')}], which is too large`);
    }
    // A name that tfjs refuses would leave the value that was made for it.
    tf.engine().startScope();
    try {
      return addWeight.call(this, name, shape, dtype, zeros, ...others);
    } finally {
      tf.engine().endScope();
    }
  };
  try {
    return f();
  } finally {
    prototype.addWeight = addWeight;
  }
}
