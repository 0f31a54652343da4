import {sizesMatch} from '../../../core/layers/formulaLayer';
import {defineLayer} from './definedLayer';

/**
 * Sets the states of masked positions to zeros: `[batch, positions, width]` and a mask `[batch, positions]`. With
 * values of the same shape as a third input, masked positions get the mean of all values instead. That is what
 * attention returns for a query whose scores are all equal.
 *
 * @experimental
 */
export const HiddenPositions = defineLayer('HiddenPlaces', {
  inputs: 3,
  integers: [1],
  misfit: ([states, mask = [], values = states]) =>
    !(states.length === 3 && sizesMatch(mask, states.slice(0, 2)) && sizesMatch(values, states)) &&
    'states, [batch, positions, width], a mask, [batch, positions], and optionally values, of the states',
  formula(o, [states, mask, values]) {
    const shown = o.expandDims(o.shown(mask), [2]);
    const seen = o.mul(states, shown);
    if (values === undefined) {
      return seen;
    }
    const mean = o.mean(values, [1]);
    return o.add(seen, o.mul(o.sub(1, shown), mean));
  },
});
