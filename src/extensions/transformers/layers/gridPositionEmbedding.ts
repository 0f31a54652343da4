import {count, sizesMatch} from '../../../core/layers/formulaLayer';
import {defineLayer} from './definedLayer';
import {isNoSequence, SEQUENCES, tableOf} from './table';

/**
 * Adds a learned position embedding to the patches of images of different sizes: patches `[batch, positions, width]`
 * and the rows and columns of each image's patches, `[batch, 2]`; table `[edge², width]`, for a grid of `edge` rows and
 * as many columns.
 *
 * The table is resized to the grid of each image by bilinear interpolation with antialiasing, as PyTorch resizes
 * without `align_corners`. Positions after the last patch get the embedding of the first one, as in transformers.
 *
 * @throws LoRAError if `edge` is not a positive integer, or the shapes of the inputs do not match.
 * @experimental
 */
export const GridPositionEmbedding = defineLayer('GridPositionEmbedding', {
  settings: {edge: count()},
  inputs: 2,
  misfit: ([shape, grids = []]) =>
    (isNoSequence(shape) && SEQUENCES) ||
    (!sizesMatch(grids, [shape[0] ?? null, 2]) &&
      "patches, [batch, positions, width], and the rows and columns of each image's patches, [batch, 2]"),
  weights: ({edge}, [shape]) => tableOf(edge ** 2, shape),
  formula(o, [x, grids], {edge}, w) {
    const sizes = o.expandDims(grids, [1]); // [batch, 1, 2]
    const [rows, columns] = o.halves(sizes, 2);
    const positions = o.expandDims(o.range(o.size(x, 1)), [0, 2]); // [1, positions, 1]
    // From the middle of a patch the quotient is no whole number, so inexact division does not matter.
    const row = o.floor(o.div(o.add(positions, 0.5), columns));
    const column = o.sub(positions, o.mul(row, columns));
    const isPatch = o.float(o.less(positions, o.mul(rows, columns)));
    const places = o.mul(o.concat([row, column], 2), isPatch); // [batch, positions, 2]
    const scale = o.div(edge, sizes);
    const centers = o.expandDims(o.sub(o.mul(o.add(places, 0.5), scale), 0.5), [3]);
    const distances = o.abs(o.sub(o.values(Array.from({length: edge}, (_, i) => i)), centers));
    const near = o.relu(o.sub(1, o.div(distances, o.expandDims(o.max(scale, 1), [3])))); // [batch, positions, 2, edge]
    const [down, across] = o.halves(o.div(near, o.sum(near, [3])), 2);
    const weights = o.reshape(o.mul(o.reshape(down, [0, 0, edge, 1]), across), [0, 0, edge ** 2]);
    return o.add(x, o.linear(weights, w.embeddings));
  },
});
