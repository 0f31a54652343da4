import * as tf from '@tensorflow/tfjs';
import type {CallArgs} from '../../../core/layers/wrapperLayer';

/** A layer with one output, which `compute` makes of its inputs. */
export abstract class PlainLayer extends tf.layers.Layer {
  constructor(args: {name?: string} = {}) {
    super(args);
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return this.compute([inputs].flat());
    });
  }

  protected abstract compute(inputs: tf.Tensor[]): tf.Tensor;
}
