import {count, flag} from '../../../core/layers/formulaLayer';
import {LoRAError} from '../../../platform/errors';
import {defineLayer, factorAndSummand} from './definedLayer';

/**
 * Max pooling that pads each side equally, as in PyTorch: `[batch, height, width, channels]`. The `same` padding of
 * tfjs adds more on the right and below. `size` is the edge of a window. The values added are never the maximum.
 *
 * @experimental
 */
export const MaxPooling = defineLayer('MaxPooling', {
  settings: {size: count(), stride: count(), padding: count(undefined, 0)},
  check({size, padding}) {
    if (2 * padding > size) {
      throw new LoRAError(`padding must be at most half of size, ${size}, got ${padding}.`);
    }
  },
  misfit: ([shape]) => shape.length !== 4 && '[batch, height, width, channels]',
  shape([[batch = null, height, width, channels = null]], {size, stride, padding}) {
    const pooled = (edge: number | null | undefined) =>
      edge == null ? null : Math.floor((edge + 2 * padding - size) / stride) + 1;
    return [batch, pooled(height), pooled(width), channels];
  },
  formula: (o, [x], settings) => o.maxPool(x, settings),
});

/**
 * Scales each channel by its norm over all positions, relative to the mean norm of the channels, and adds the input:
 * `γ·x·n + β + x`, `[batch, height, width, channels]`. (Woo et al., "ConvNeXt V2", arXiv 2301.00808, §3.2.)
 *
 * @experimental
 */
export const GlobalResponseNormalization = defineLayer('GlobalResponseNormalization', {
  weights: (_, [shape]) => factorAndSummand(shape, 'zeros'),
  formula(o, [x], _, w) {
    const norms = o.norm(x, [1, 2]);
    const relative = o.div(norms, o.add(o.mean(norms, [3]), 1e-6));
    return o.add(o.mul(x, o.add(o.mul(relative, w.gamma), 1)), w.beta);
  },
});

/**
 * The positions of features as a sequence, row by row: `[batch, height, width, channels]` → `[batch, height·width,
 * channels]`, with one position more if their `mean` comes first.
 *
 * @experimental
 */
export const FeatureSequence = defineLayer('FeatureSequence', {
  settings: {mean: flag(false)},
  shape: ([[batch = null, height, width, channels = null]], {mean}) => [
    batch,
    height == null || width == null ? null : Number(mean) + height * width,
    channels,
  ],
  formula(o, [x], {mean}, _, [shape]) {
    const positions = o.reshape(x, [0, -1, shape[3] ?? 0]);
    return mean ? o.concat([o.mean(positions, [1]), positions], 1) : positions;
  },
});

/**
 * A sequence as the features of the positions of others, row by row, the inverse of {@link FeatureSequence}:
 * `[batch, height·width, channels]` and `[batch, height, width, any]` → `[batch, height, width, channels]`.
 *
 * @experimental
 */
export const SequenceFeatures = defineLayer('SequenceFeatures', {
  inputs: 2,
  shape: ([sequence, like = []]) => [...like.slice(0, 3), sequence[2] ?? null],
  formula: (o, [sequence, like], _, __, [shape]) => o.reshapeLike(sequence, like, 3, [shape[2] ?? 0]),
});

/**
 * Features resized to the height and width of others by bilinear interpolation: `[batch, height, width, channels]` and
 * `[batch, height', width', any]` → `[batch, height', width', channels]`.
 *
 * @experimental
 */
export const ResizedFeatures = defineLayer('ResizedFeatures', {
  inputs: 2,
  shape: ([features, like = []]) => [...like.slice(0, 3), features[3] ?? null],
  formula: (o, [features, like]) => o.resize(features, o.size(like, 1), o.size(like, 2)),
});
