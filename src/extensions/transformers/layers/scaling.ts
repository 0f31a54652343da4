import {number} from '../../../core/layers/formulaLayer';
import {defineLayer} from './definedLayer';

/**
 * `factor·x`, for example for the token embeddings of Gemma and Granite.
 *
 * @experimental
 */
export const Scaling = defineLayer('Scaling', {
  settings: {factor: number()},
  isElementwise: true,
  formula: (o, [x], {factor}) => o.mul(x, factor),
});

/**
 * `cap·tanh(x / cap)`, for example for the logits of Gemma 2. `cap` is the bound of the outputs. (Gemma Team, arXiv
 * 2408.00118, §2.)
 *
 * @experimental
 */
export const SoftCap = defineLayer('SoftCap', {
  settings: {cap: number('a positive number', cap => cap > 0)},
  isElementwise: true,
  formula: (o, [x], {cap}) => o.mul(o.tanh(o.div(x, cap)), cap),
});
