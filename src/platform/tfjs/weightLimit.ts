import * as tf from '@tensorflow/tfjs';
import {tooLargeError} from '../errors';

/** How many parameters the layers may still have. */
export interface WeightLimit {
  left: number;
}

type AddWeight = (this: tf.layers.Layer, name: string, shape: tf.Shape, ...weightArgs: unknown[]) => tf.LayerVariable;

/**
 * Runs `f` with the weights of layers starting at zero, whatever their initializers, and limited in their total size.
 * Configs do not tell how large a weight will be, and not all inner layers are known before they are built.
 *
 * @throws LoRAError before a weight is made that would exceed the limit.
 */
export function withWeightLimit<T>(limit: WeightLimit, f: () => T): T {
  const zeros = tf.initializers.zeros();
  const limited = (addWeight: AddWeight): AddWeight =>
    function (name, shape, dtype, _initializer, ...weightArgs) {
      limit.left -= tf.util.sizeFromShape(shape as number[]) + 1;
      if (!(limit.left >= 0)) {
        const what = `its weight ${name} would be of shape [${shape.map(String).join(', ')}]`;
        throw tooLargeError(`${what}, which is too large`);
      }
      // A name that tfjs refuses would leave the value that was made for it.
      tf.engine().startScope();
      try {
        return addWeight.call(this, name, shape, dtype, zeros, ...weightArgs);
      } finally {
        tf.engine().endScope();
      }
    };
  return withAddWeight(limited, f);
}

/**
 * Runs `f` with the weights that get their values later starting with the buffer of a given weight of the same shape.
 * This rebuilds a model without a second copy in memory and without drawing random numbers.
 */
export function withoutInitializers<T>(
  variables: readonly tf.LayerVariable[],
  getsValue: (layer: tf.layers.Layer, name: string) => boolean,
  f: () => T,
): T {
  const keyOf = (shape: tf.Shape, dtype: unknown) => `${dtype as string} ${shape.map(String).join()}`;
  const byKey = new Map(variables.map(weight => [keyOf(weight.shape, weight.dtype), weight]));
  const sharing = (addWeight: AddWeight): AddWeight =>
    function (name, shape, dtype, initializer, regularizer, trainable, constraint, ...weightArgs) {
      const alike = getsValue(this, name) ? byKey.get(keyOf(shape, dtype ?? 'float32')) : undefined;
      if (alike === undefined) {
        return addWeight.call(this, name, shape, dtype, initializer, regularizer, trainable, constraint, ...weightArgs);
      }
      const start = {apply: () => alike.read().clone()};
      return addWeight.call(this, name, shape, dtype, start, regularizer, trainable, constraint, () => start);
    };
  return withAddWeight(sharing, f);
}

/** Runs `f` with a replacement of the function that makes the weights of all tfjs layers. */
function withAddWeight<T>(change: (addWeight: AddWeight) => AddWeight, f: () => T): T {
  const prototype = tf.layers.Layer.prototype as unknown as {addWeight: AddWeight};
  const {addWeight} = prototype;
  prototype.addWeight = change(addWeight);
  try {
    return f();
  } finally {
    prototype.addWeight = addWeight;
  }
}
