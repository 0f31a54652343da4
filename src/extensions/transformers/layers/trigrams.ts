import * as tf from '@tensorflow/tfjs';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {misfitError, showShape} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/**
 * The values of the next position, of a position and of the previous one, zeros beyond the ends: `[batch, positions,
 * width]` → `[batch, positions, 3·width]`.
 *
 * @experimental
 */
export class Trigrams extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>Trigrams';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shape = onlyShape(inputShape);
    const [batch = null, positions = null, width] = shape;
    if (shape.length !== 3 || width == null) {
      throw misfitError(`"${this.name}" takes [batch, positions, width], got ${showShape(shape)}.`);
    }
    return [batch, positions, 3 * width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor3D;
    const padded = tf.pad3d(x, [[0, 0], [1, 1], [0, 0]]); // prettier-ignore
    return tf.concat(
      [2, 1, 0].map(from => tf.slice3d(padded, [0, from, 0], x.shape)),
      2,
    );
  }
}
registerOwn(Trigrams);
