import {defineLayer} from './definedLayer';

/**
 * The values of the next position, of a position and of the previous one, zeros beyond the ends: `[batch, positions,
 * width]` → `[batch, positions, 3·width]`.
 *
 * @experimental
 */
export const Trigrams = defineLayer('Trigrams', {
  misfit: ([shape]) => (shape.length !== 3 || shape[2] == null) && '[batch, positions, width]',
  shape: ([[batch = null, positions = null, width]]) => [batch, positions, 3 * Number(width)],
  formula(o, [x]) {
    const count = o.size(x, 1);
    const padded = o.pad(x, [[0, 0], [1, 1], [0, 0]]); // prettier-ignore
    return o.concat(
      [2, 1, 0].map(from => o.slice(padded, 1, from, o.plus(count, from))),
      2,
    );
  },
});
