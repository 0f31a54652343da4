import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, show, showShape, misfitError} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import type {CallArgs} from '../../../core/layers/wrapperLayer';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {rotate} from '../ops/rotary';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link PatchAngles}. */
export interface PatchAnglesArgs {
  /** The values of a head, a multiple of 4. */
  size: number;
  theta: number;
  /** How many positions before the patches are not rotated. */
  tokens: number;
  name?: string;
}

/**
 * The cosines and the sines of the angles by which queries and keys are rotated, for the row and the column of each
 * patch: `[batch, rows, columns, width]` → `[2, tokens + rows·columns, size/2]`. Only the rows and columns of the input
 * matter. Coordinates run from −1 to 1 whatever the size of the image. (Siméoni et al., "DINOv3", arXiv 2508.10104.)
 *
 * @experimental
 */
export class PatchAngles extends tf.layers.Layer {
  static readonly className = 'tfjs-lora/transformers>PatchAngles';
  private readonly size: number;
  private readonly theta: number;
  private readonly tokens: number;

  constructor({size, theta, tokens, ...rest}: PatchAnglesArgs) {
    if (!(Number.isInteger(size) && size > 0 && size % 4 === 0)) {
      throw new LoRAError(`size must be a positive multiple of 4, got ${show(size)}.`);
    }
    if (!(Number.isFinite(theta) && theta > 0)) {
      throw new LoRAError(`theta must be a positive number, got ${show(theta)}.`);
    }
    checkCount('tokens', tokens, 0);
    super(rest);
    this.size = size;
    this.theta = theta;
    this.tokens = tokens;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [, rows, columns] = onlyShape(inputShape);
    return [2, rows == null || columns == null ? null : this.tokens + rows * columns, this.size / 2];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const [, rows = 0, columns = 0] = onlyTensor(inputs).shape;
      const {size, theta, tokens} = this;
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
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {size, theta, tokens} = this;
    return {...super.getConfig(), size, theta, tokens};
  }
}
registerOwn(PatchAngles);

/**
 * Rotates pairs of values of each head by angles: queries or keys `[batch, positions, heads·size]` and the output of
 * {@link PatchAngles} → the same shape. (See {@link rotate}.)
 *
 * @experimental
 */
export class RotatedPatches extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>RotatedPatches';
  private readonly heads: number;

  constructor({heads, ...rest}: {heads: number; name?: string}) {
    checkCount('heads', heads);
    super(rest);
    this.heads = heads;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, angles] = inputs.map(asFloat) as [tf.Tensor3D, tf.Tensor3D | undefined];
    if (angles === undefined || x.rank !== 3 || angles.shape[1] !== x.shape[1]) {
      const shapes = inputs.map(({shape}) => showShape(shape));
      throw misfitError(`"${this.name}" takes a sequence and the angles of its positions, got ${shapes.join(', ')}.`);
    }
    const tables = (shown: tf.Tensor | null) => {
      const [cosines, sines] = tf.unstack(shown ?? angles) as [tf.Tensor2D, tf.Tensor2D];
      return {cosines, sines};
    };
    return rotate(x, tables, {heads: this.heads, interleaved: false}, angles);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads};
  }
}
registerOwn(RotatedPatches);
