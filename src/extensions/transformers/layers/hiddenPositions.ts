import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import type {CallArgs} from '../../../core/layers/wrapperLayer';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';

/**
 * Sets the states of masked positions to zeros: `[batch, positions, width]` and a mask `[batch, positions]`. With
 * values of the same shape as a third input, masked positions get the mean of all values instead. That is what
 * attention returns for a query whose scores are all equal.
 *
 * @experimental
 */
export class HiddenPositions extends tf.layers.Layer {
  static readonly className = 'tfjs-lora/transformers>HiddenPlaces';

  constructor(args: {name?: string} = {}) {
    super(args);
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const [x, mask, values] = [inputs].flat().map(asFloat);
      const shape = x?.shape ?? [];
      const fits = [mask?.shape, ...(values ? [values.shape.slice(0, 2)] : [])].every(
        other => shape.length === 3 && tf.util.arraysEqual(other ?? [], shape.slice(0, 2)),
      );
      if (!fits || (values && values.shape[2] !== shape[2])) {
        const shapes = [inputs].flat().map(each => showShape(each.shape));
        throw misfitError(
          `"${this.name}" takes states, [batch, positions, width], a mask, [batch, positions], and optionally values, of the ` +
            `states; got ${shapes.join(', ')}.`,
        );
      }
      const shown = tf.expandDims(tf.cast(tf.notEqual(mask as tf.Tensor, 0), 'float32'), 2);
      const seen = tf.mul(x as tf.Tensor, shown);
      return values === undefined ? seen : tf.add(seen, tf.mul(tf.sub(1, shown), tf.mean(values, 1, true)));
    });
  }
}
registerOwn(HiddenPositions);
