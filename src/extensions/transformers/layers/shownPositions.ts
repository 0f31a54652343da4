import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {currentDecoding} from './decoding';
import {definedLayer} from './definedLayer';

/**
 * Sets the states of masked positions to zeros, before a layer whose results depend on earlier positions.
 *
 *     // states [batch, n, width], mask [batch, n] → [batch, n, width]
 *     shown.apply([states, mask])
 *
 * The mask may be one that {@link ShortConvolution} takes: with earlier positions, or followed by examples.
 *
 * @throws LoRAError if the mask has another shape.
 * @experimental
 */
export class ShownPositions extends definedLayer({inputs: 2}) {
  static readonly className = 'tfjs-lora/transformers>ShownPositions';

  protected override compute([states, mask]: [tf.Tensor3D, tf.Tensor2D]): tf.Tensor {
    const shown = tf.cast(tf.notEqual(maskOfPass(this.name, mask, states.shape), 0), 'float32');
    return tf.mul(states, tf.expandDims(shown, 2));
  }
}
registerOwn(ShownPositions);

/**
 * The mask of the positions of this pass. While decoding, it has earlier positions too. Otherwise the number of each
 * position's example may follow.
 *
 * @throws LoRAError if it has another shape.
 */
export function maskOfPass(
  name: string,
  mask: tf.Tensor2D,
  [batch, positions]: readonly [batch: number, positions: number, ...width: number[]],
): tf.Tensor2D {
  const [rows, width] = mask.shape;
  const isDecoding = currentDecoding() !== undefined;
  const fits = isDecoding ? width >= positions : width === positions || width === 2 * positions;
  if (!fits || rows !== batch) {
    throw misfitError(
      `"${name}" has ${positions} positions and a mask ${showShape(mask.shape)}. The mask must have the shape ` +
        '[batch, positions].',
    );
  }
  return tf.slice2d(mask, [0, isDecoding ? width - positions : 0], [batch, positions]);
}
