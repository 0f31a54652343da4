import * as tf from '@tensorflow/tfjs';
import {count} from '../../../core/layers/formulaLayer';
import {registerOwn} from '../../../platform/tfjs/configs';
import {resizeFeatures} from '../ops/resizeGrid';
import {definedLayer} from './definedLayer';

// Attention between the pixels at the same place of all patches. (Mehta, Rastegari, "MobileViT", arXiv 2110.02178, §3.)

/** The height and width of features that consist of whole patches. */
function wholeOf({shape: [, height = 0, width = 0]}: tf.Tensor, patch: number): [height: number, width: number] {
  const roundedUp = (edge: number) => Math.ceil(edge / patch) * patch;
  return [roundedUp(height), roundedUp(width)];
}

function misfitOf(features: tf.Shape): string | false {
  return features.length !== 4 && '[batch, height, width, channels]';
}

/**
 * The pixels of features, a sequence for each place in a patch with an edge of `patch`: `[batch, height, width,
 * channels]` → `[patch²·batch, patches, channels]`. Features that do not consist of whole patches are made larger.
 *
 * @experimental
 */
export class PatchPixels extends definedLayer({
  settings: {patch: count()},
  misfit: ([features]) => misfitOf(features),
  shape: ([features]) => [null, null, features.at(-1) ?? null],
}) {
  static readonly className = 'tfjs-lora/transformers>PatchPixels';

  protected override compute([x]: [tf.Tensor4D]): tf.Tensor {
    const {patch} = this.settings;
    const resized = resizeFeatures(x, ...wholeOf(x, patch));
    const pixels = tf.spaceToBatchND(resized, [patch, patch], [[0, 0], [0, 0]]); // prettier-ignore
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
export class JoinedPixels extends definedLayer({
  settings: {patch: count()},
  inputs: 2,
  misfit: ([, features = []]) => misfitOf(features),
  shape: ([pixels, features = []]) => [...features.slice(0, 3), pixels[2] ?? null],
}) {
  static readonly className = 'tfjs-lora/transformers>JoinedPixels';

  protected override compute([pixels, features]: [tf.Tensor3D, tf.Tensor4D]): tf.Tensor {
    const {patch} = this.settings;
    const [height, width] = wholeOf(features, patch);
    const [sequences, , channels] = pixels.shape;
    const grid = tf.reshape<tf.Rank.R4>(pixels, [sequences, height / patch, width / patch, channels]);
    const joinedPatches = tf.batchToSpaceND(grid, [patch, patch], [[0, 0], [0, 0]]); // prettier-ignore
    return resizeFeatures(joinedPatches, features.shape[1], features.shape[2]);
  }
}
registerOwn(JoinedPixels);
