import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {resizeFeatures} from '../ops/resizeGrid';
import {PlainLayer} from './plainLayer';

// Attention between the pixels at the same place of all patches. (Mehta, Rastegari, "MobileViT", arXiv 2110.02178, §3.)

/** Arguments of layers for the pixels of patches. */
export interface PatchPixelsArgs {
  /** The edge of a patch. */
  patch: number;
  name?: string;
}

/** A layer that knows the patches of features. */
abstract class PatchLayer extends PlainLayer {
  protected readonly patch: number;

  constructor({patch, ...rest}: PatchPixelsArgs) {
    checkCount('patch', patch);
    super(rest);
    this.patch = patch;
  }

  /** The height and width of features that consist of whole patches. */
  protected wholeOf({shape}: tf.Tensor): [height: number, width: number] {
    const [, height = 0, width = 0] = shape;
    if (shape.length !== 4) {
      throw misfitError(`"${this.name}" takes [batch, height, width, channels], got ${showShape(shape)}.`);
    }
    const whole = (edge: number) => Math.ceil(edge / this.patch) * this.patch;
    return [whole(height), whole(width)];
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), patch: this.patch};
  }
}

/**
 * The pixels of features, a sequence for each place in a patch: `[batch, height, width, channels]` →
 * `[patch²·batch, patches, channels]`. Features that do not consist of whole patches are made larger.
 *
 * @experimental
 */
export class PatchPixels extends PatchLayer {
  static readonly className = 'tfjs-lora/transformers>PatchPixels';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return [null, null, (inputShape as tf.Shape).at(-1) ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(inputs[0] as tf.Tensor) as tf.Tensor4D;
    const {patch} = this;
    const whole = resizeFeatures(x, ...this.wholeOf(x));
    const pixels = tf.spaceToBatchND(whole, [patch, patch], [[0, 0], [0, 0]]); // prettier-ignore
    const [sequences, rows, columns, channels] = pixels.shape;
    return tf.reshape(pixels, [sequences, rows * columns, channels]);
  }
}
registerOwn(PatchPixels);

/**
 * The inverse of {@link PatchPixels}: such sequences and features of the wanted size →
 * `[batch, height, width, channels]`.
 *
 * @experimental
 */
export class JoinedPixels extends PatchLayer {
  static readonly className = 'tfjs-lora/transformers>JoinedPixels';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [pixels, like] = inputShape as [tf.Shape, tf.Shape];
    return [...like.slice(0, 3), pixels[2] ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [pixels, like] = inputs as [tf.Tensor3D, tf.Tensor4D];
    const {patch} = this;
    const [height, width] = this.wholeOf(like);
    const [sequences, , channels] = pixels.shape;
    const grid = tf.reshape<tf.Rank.R4>(pixels, [sequences, height / patch, width / patch, channels]);
    const whole = tf.batchToSpaceND(grid, [patch, patch], [[0, 0], [0, 0]]); // prettier-ignore
    return resizeFeatures(whole, like.shape[1], like.shape[2]);
  }
}
registerOwn(JoinedPixels);
