import * as tf from '@tensorflow/tfjs';
import {count} from '../../../core/layers/formulaLayer';
import {defineLayer} from './definedLayer';

/** The scores from the class token to patches, from patches to it, and to itself. */
const OF_TOKEN = 3;

/**
 * A learned bias for the distance of two patches of an image, which follow a class token, as a bias of `Attention`:
 * patches `[batch, rows, columns, width]` → `[1, heads, 1 + rows·columns, 1 + rows·columns]`. The table has a row for
 * each distance in a grid of `edge` rows and columns, `[(2·edge − 1)² + 3, heads]`. It is resized for images of other
 * sizes by bilinear interpolation. (Bao et al., "BEiT", arXiv 2106.08254, §2.3.)
 *
 * @experimental
 */
export const PatchBias = defineLayer('PatchBias', {
  settings: {edge: count(), heads: count()},
  integers: [0],
  misfit: ([shape]) => shape.length !== 4 && 'patches, [batch, rows, columns, width]',
  weights: ({edge, heads}) => ({
    table: {shape: [(2 * edge - 1) ** 2 + OF_TOKEN, heads], start: tf.initializers.zeros()},
  }),
  shape([[, rows, columns]], {heads}) {
    const positions = rows == null || columns == null ? null : 1 + rows * columns;
    return [null, heads, positions, positions];
  },
  formula(o, [x], {edge}, w, [[, height, width]]) {
    const span = 2 * edge - 1;
    const [rows, columns] = [o.size(x, 1), o.size(x, 2)];
    const resized = () => {
      const spans = [o.plus(o.times(rows, 2), -1), o.plus(o.times(columns, 2), -1)] as const;
      const distances = o.resizeTable(o.slice(w.table, 0, 0, span ** 2), [span, span], spans, 'linear');
      return o.concat([distances, o.slice(w.table, 0, span ** 2, span ** 2 + OF_TOKEN)], 0);
    };
    const table = height === edge && width === edge ? w.table : resized();
    return o.expandDims(o.transpose(o.gather(table, o.patchPairs(rows, columns)), [2, 0, 1]), [0]);
  },
});
