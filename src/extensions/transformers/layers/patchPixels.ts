import type * as tf from '@tensorflow/tfjs';
import {count} from '../../../core/layers/formulaLayer';
import type {TransformerOps} from '../../../core/ops/formulaOps';
import {defineLayer} from './definedLayer';

// Attention between the pixels at the same place of all patches. (Mehta, Rastegari, "MobileViT", arXiv 2110.02178, §3.)

/** The rows and columns of patches that cover features. */
function gridOf<T, N>(o: TransformerOps<T, N>, features: T, patch: number): [rows: N, columns: N] {
  return [o.pieces(o.size(features, 1), patch), o.pieces(o.size(features, 2), patch)];
}

/** Whether features are known to consist of whole patches. */
function isWhole([, height, width]: tf.Shape, patch: number): boolean {
  return [height, width].every(edge => edge != null && edge % patch === 0);
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
export const PatchPixels = defineLayer('PatchPixels', {
  settings: {patch: count()},
  misfit: ([features]) => misfitOf(features),
  shape: ([features]) => [null, null, features.at(-1) ?? null],
  formula(o, [x], {patch}, _, [shape]) {
    const channels = shape[3] ?? 0;
    const [rows, columns] = gridOf(o, x, patch);
    const image = isWhole(shape, patch) ? x : o.resize(x, o.times(rows, patch), o.times(columns, patch));
    const pixels = o.reshape(image, [-1, rows, patch, columns, patch, channels]);
    const sequences = o.times(o.size(x, 0), patch ** 2);
    return o.reshape(o.transpose(pixels, [2, 4, 0, 1, 3, 5]), [sequences, -1, channels]);
  },
});

/**
 * The inverse of {@link PatchPixels}: such sequences and features of the wanted size →
 * `[batch, height, width, channels]`.
 *
 * @experimental
 */
export const JoinedPixels = defineLayer('JoinedPixels', {
  settings: {patch: count()},
  inputs: 2,
  misfit: ([, features = []]) => misfitOf(features),
  shape: ([pixels, features = []]) => [...features.slice(0, 3), pixels[2] ?? null],
  formula(o, [pixels, features], {patch}, _, [shape, wanted = []]) {
    const channels = shape[2] ?? 0;
    const [rows, columns] = gridOf(o, features, patch);
    const byPlace = o.reshape(pixels, [patch, patch, -1, rows, columns, channels]);
    const byPixel = o.transpose(byPlace, [2, 3, 0, 4, 1, 5]);
    const image = o.reshape(byPixel, [-1, o.times(rows, patch), o.times(columns, patch), channels]);
    return isWhole(wanted, patch) ? image : o.resize(image, o.size(features, 1), o.size(features, 2));
  },
});
