import type {GraphWriter, Tensor} from '../write/graphWriter';
import type {Write} from './call';

/** A layer whose table has a row for each distance. */
interface DistanceLayer {
  /** The row for a distance. */
  rowOf(distance: number): number;
}

/** The rows of distances are written for texts of at most this many positions. */
const MAX_POSITIONS = 4096;

/** The rows for the distances `−most` to `most`, as constants. */
function tableRows(layer: DistanceLayer, most: number): number[] {
  // Rows for distances that the layer refuses are NaN.
  return Array.from({length: 2 * most - 1}, (_, i) => layer.rowOf(i - most + 1) || 0);
}

/** Positions of keys minus positions of queries, for a size in a list of one number: `[positions, positions]`. */
function distances(out: GraphWriter, size: string): string {
  return out.once(`distances ${size}`, () => {
    const positions = out.positions(size);
    return out.node('Sub', [out.unsqueeze(positions, [0]), out.unsqueeze(positions, [1])]);
  });
}

/** Rows of a table for distances: `[positions, positions]`. */
function rowsFor(out: GraphWriter, layer: DistanceLayer, size: string, length: number | null, turned = false): string {
  const most = length ?? MAX_POSITIONS;
  const rows = out.ints(turned ? tableRows(layer, most).reverse() : tableRows(layer, most));
  const index = out.node('Add', [distances(out, size), out.ints([most - 1], [])]);
  return out.node('Gather', [rows, index]);
}

export const relativeBias: Write = (out, call) => {
  const layer = call.fields<DistanceLayer>();
  const size = out.sizeOf(out.plain(call.input), 1);
  const rows = rowsFor(out, layer, size, call.input.shape[1] ?? null);
  const values = out.node('Gather', [out.weight('embeddings', call.weight('embeddings')), rows]); // [queries, keys, heads]
  return call.output(out.unsqueeze(out.node('Transpose', [values], {perm: [2, 0, 1]}), [0]));
};

/** Products of queries, or keys, and the rows of a table for the distances of the others from them. */
export const distanceScores: Write = (out, call) => {
  const layer = call.fields<DistanceLayer>();
  const {heads, span, ofKeys, scale} = call.settings<{
    heads: number;
    span: number;
    ofKeys: boolean;
    scale: number | null;
  }>();
  const [states, table] = call.inputs as [Tensor, Tensor];
  const width = states.shape[2] ?? 0;
  const size = width / heads;
  const x = out.node('Mul', [out.plain(states), out.float(scale ?? 1 / Math.sqrt(size))]);
  const byHead = out.node('Transpose', [out.reshape(x, [0, 0, heads, size])], {perm: [0, 2, 1, 3]});
  const rows = out.reshape(out.plain(table), [2 * span, heads, size]);
  // [batch, heads, positions, 2·span]
  const products = out.node('MatMul', [byHead, out.node('Transpose', [rows], {perm: [1, 2, 0]})]);
  const length = out.sizeOf(out.plain(states), 1);
  // The distance of a query from a key is the negated distance of the key from the query.
  const chosen = rowsFor(out, layer, length, states.shape[1] ?? null, true);
  const places = ofKeys ? out.node('Transpose', [chosen], {perm: [1, 0]}) : chosen;
  const shape = out.node('Concat', [out.sizeOf(products, 0), out.ints([heads, 1, 1])], {axis: 0});
  const index = out.node('Expand', [out.unsqueeze(places, [0, 1]), shape]);
  const scores = out.node('GatherElements', [products, index], {axis: 3});
  return call.output(ofKeys ? out.node('Transpose', [scores], {perm: [0, 1, 3, 2]}) : scores);
};
