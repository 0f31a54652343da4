import {count} from '../../../core/layers/formulaLayer';
import {defineLayer} from './definedLayer';

/**
 * Adds zeros `before` and `after` a sequence: `[batch, positions, width]`. Convolutions that PyTorch pads equally on
 * both sides need it: the `same` padding of tfjs adds more at the end if the stride is above 1.
 *
 * @experimental
 */
export const TimePadding = defineLayer('TimePadding', {
  settings: {before: count(undefined, 0), after: count(undefined, 0)},
  misfit: ([shape]) => shape.length !== 3 && '[batch, positions, width]',
  shape: ([[batch = null, positions, width = null]], {before, after}) => [
    batch,
    positions == null ? null : before + positions + after,
    width,
  ],
  formula: (o, [x], {before, after}) => o.pad(x, [[0, 0], [before, after], [0, 0]]), // prettier-ignore
});
