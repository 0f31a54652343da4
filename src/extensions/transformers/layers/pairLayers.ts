import * as tf from '@tensorflow/tfjs';
import {flag, later, type Optional, sizesMatch} from '../../../core/layers/formulaLayer';
import type {TorchAttention} from '../../../core/peft/torchLayers';
import {LoRAError, show} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer, defineLayer} from './definedLayer';

/**
 * A learned query, the same for all inputs: `[batch, positions, width]` → `[batch, 1, width]`.
 *
 * @experimental
 */
export class LearnedQuery
  extends definedLayer({
    weights: (_, [shape]) => ({query: {shape: [1, 1, shape.at(-1) ?? null], start: tf.initializers.glorotUniform({})}}),
    shape: ([[batch = null, , width = null]]) => [batch, 1, width],
    formula: (o, [x], _, w) => o.repeat(w.query, o.size(x, 0), 3),
  })
  implements TorchAttention
{
  static readonly className = 'tfjs-lora/transformers>LearnedQuery';
  readonly torchClass = 'MultiheadAttention';
}
registerOwn(LearnedQuery);

/** The id of a token, or `null`. */
export function tokenId(): Optional<number | null> {
  return {
    otherwise: null,
    check(name, value) {
      if (value !== null && !Number.isSafeInteger(value)) {
        throw new LoRAError(`${name} must be an integer, a token id, got ${show(value)}.`);
      }
    },
  };
}

/**
 * The state at the first position of `token`, or of the largest id in the text if that is `null`: states `[batch,
 * positions, width]` and tokens `[batch, positions]` → `[batch, width]`. If a text does not have the token, the state
 * at its first position.
 *
 * @experimental
 */
export const TokenState = defineLayer('TokenState', {
  settings: {token: tokenId()},
  inputs: 2,
  integers: [1],
  misfit: ([states, tokens = []]) =>
    !(states.length === 3 && sizesMatch(tokens, states.slice(0, 2))) &&
    'states, [batch, positions, width], and tokens, [batch, positions]',
  shape: ([[batch = null, , width = null]]) => [batch, width],
  formula(o, [states, tokens], {token}) {
    const position = o.argMax(token === null ? tokens : o.is(tokens, token), 1);
    const isChosen = o.float(o.equal(position, o.range(o.size(states, 1), 'int32')));
    return o.squeeze(o.matMul(o.expandDims(isChosen, [1]), states), [1]);
  },
});

/**
 * Scaled cosine similarities of all pairs: `exp(s)·cos(aᵢ, bⱼ) + b`, `[n, width]` and `[m, width]` → `[n, m]`. `s` is
 * learned, and with `bias` also `b`. (Radford et al., arXiv 2103.00020; with a bias: Zhai et al., arXiv 2303.15343.)
 *
 * @experimental
 */
export const ScaledCosines = defineLayer('ScaledCosines', {
  settings: {bias: later(flag(false))},
  inputs: 2,
  // The initial values of the original training.
  weights: ({bias}) => ({
    scale: {shape: [], start: tf.initializers.constant({value: Math.log(bias ? 10 : 1 / 0.07)})},
    ...(bias && {bias: {shape: [], start: tf.initializers.constant({value: -10})}}),
  }),
  shape: ([[rows = null], [columns = null] = []]) => [rows, columns],
  formula(o, [a, b], _, w) {
    const scaled = o.mul(o.cosines(a, b), o.exp(w.scale));
    return w.bias === undefined ? scaled : o.add(scaled, w.bias);
  },
});
