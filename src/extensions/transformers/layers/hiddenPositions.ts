import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/**
 * Sets the states of masked positions to zeros: `[batch, positions, width]` and a mask `[batch, positions]`. With
 * values of the same shape as a third input, masked positions get the mean of all values instead. That is what
 * attention returns for a query whose scores are all equal.
 *
 * @experimental
 */
export class HiddenPositions extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>HiddenPlaces';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, mask, values] = inputs.map(asFloat);
    const shape = x?.shape ?? [];
    const fits = [mask?.shape, ...(values ? [values.shape.slice(0, 2)] : [])].every(
      other => shape.length === 3 && tf.util.arraysEqual(other ?? [], shape.slice(0, 2)),
    );
    if (!fits || (values && values.shape[2] !== shape[2])) {
      const shapes = inputs.map(each => showShape(each.shape));
      throw misfitError(
        `"${this.name}" takes states, [batch, positions, width], a mask, [batch, positions], and optionally values, of the ` +
          `states; got ${shapes.join(', ')}.`,
      );
    }
    const shown = tf.expandDims(tf.cast(tf.notEqual(mask as tf.Tensor, 0), 'float32'), 2);
    const seen = tf.mul(x as tf.Tensor, shown);
    return values === undefined ? seen : tf.add(seen, tf.mul(tf.sub(1, shown), tf.mean(values, 1, true)));
  }
}
registerOwn(HiddenPositions);
