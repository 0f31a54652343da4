import {defineLayer, factorAndSummand} from './definedLayer';

/**
 * `γ·x + β` along the last axis, of one input or the sum of two: which MobileBERT has instead of normalizations. (Sun
 * et al., arXiv 2004.02984.)
 *
 * @experimental
 */
export const Affine = defineLayer('Affine', {
  inputs: 2,
  keepsMask: true,
  weights: (_, [shape]) => factorAndSummand(shape),
  misfit: ([shape, other, third]) =>
    (shape.at(-1) == null || third !== undefined || (other !== undefined && other.at(-1) !== shape.at(-1))) &&
    'one input or two of the same shape',
  formula: (o, [x, other], _, w) => o.affine(other === undefined ? x : o.add(x, other), w.gamma, w.beta),
});
