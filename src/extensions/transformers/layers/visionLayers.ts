import * as tf from '@tensorflow/tfjs';
import {defineLayer} from './definedLayer';

/**
 * `x·sigmoid(1.702·x)`, the gelu of CLIP. Only the input is kept for the gradient.
 *
 * @experimental
 */
export const QuickGelu = defineLayer('QuickGelu', {
  isElementwise: true,
  formula: (o, [x]) => o.swish(x, 1.702),
});

/**
 * Multiplies the last axis by a learned vector: `λ·x`. (Touvron et al., arXiv 2103.17239.)
 *
 * @experimental
 */
export const LayerScale = defineLayer('LayerScale', {
  isElementwise: true,
  weights: (_, [shape]) => ({lambda1: {shape: [shape.at(-1) ?? null], start: tf.initializers.ones()}}),
  formula: (o, [x], _, w) => o.mul(x, w.lambda1),
});
