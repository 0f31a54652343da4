import * as tf from '@tensorflow/tfjs';
import {count, number, sizesMatch} from '../../../core/layers/formulaLayer';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer, defineLayer} from './definedLayer';

/**
 * The cosines and the sines of the angles by which queries and keys are rotated, for the row and the column of each
 * patch: `[batch, rows, columns, width]` → `[2, tokens + rows·columns, size/2]`. `size` is that of a head, and the
 * `tokens` before the patches are not rotated. Only the rows and columns of the input matter. Coordinates run from −1
 * to 1 whatever the size of the image. (Siméoni et al., "DINOv3", arXiv 2508.10104.)
 *
 * @experimental
 */
export class PatchAngles extends definedLayer({
  settings: {
    size: number('a positive multiple of 4', size => Number.isInteger(size) && size > 0 && size % 4 === 0),
    theta: number('a positive number', theta => theta > 0),
    tokens: count(undefined, 0),
  },
  integers: [0],
  shape: ([[, rows, columns]], {size, tokens}) => [
    2,
    rows == null || columns == null ? null : tokens + rows * columns,
    size / 2,
  ],
}) {
  static readonly className = 'tfjs-lora/transformers>PatchAngles';

  protected override compute([x]: [tf.Tensor]): tf.Tensor {
    const [, rows = 0, columns = 0] = x.shape;
    const {size, theta, tokens} = this.settings;
    const quarter = size / 4;
    const count = (tokens + rows * columns) * 2 * quarter;
    // Sines of graphics cards are exact to three digits.
    const values = new Float32Array(2 * count).fill(1, 0, count);
    let at = tokens * 2 * quarter;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        for (const coordinate of [(2 * row + 1) / rows - 1, (2 * column + 1) / columns - 1]) {
          for (let i = 0; i < quarter; i++, at++) {
            const angle = Math.fround((2 * Math.PI * coordinate) / theta ** (i / quarter));
            values[at] = Math.cos(angle);
            values[count + at] = Math.sin(angle);
          }
        }
      }
    }
    return tf.tensor3d(values, [2, tokens + rows * columns, 2 * quarter]);
  }
}
registerOwn(PatchAngles);

/**
 * Rotates pairs of values of each of some `heads` by angles: queries or keys `[batch, positions, heads·size]` and the
 * output of {@link PatchAngles} → the same shape. (See {@link rotate}.)
 *
 * @experimental
 */
export const RotatedPatches = defineLayer('RotatedPatches', {
  settings: {heads: count()},
  inputs: 2,
  misfit: ([shape, angles = []]) =>
    !(shape.length === 3 && sizesMatch(shape.slice(1, 2), angles.slice(1, 2))) &&
    'a sequence and the angles of its positions',
  formula: (o, [x, angles], {heads}, _, [shape]) => o.rotate(x, angles, heads, Number(shape[2]) / heads),
});
