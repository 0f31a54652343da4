import {type GraphNode, flagOf, numberOf, numbersOf} from './graphDef';
import {contracted, largestOutput, pixels, product, type SizedInput, sizeOf} from './graphSize';

/** What reading or writing a value takes on the CPU, in products. */
const VALUE = 16;

/** What broadcasting or sorting a value takes besides, in values: tfjs computes the indices of each. */
const INDEXED = 2;

/**
 * About how long computing a node takes, in values that are read or written. It bounds how long a small file can keep
 * us busy.
 */
export function stepsOf(node: GraphNode, inputs: readonly SizedInput[]): number {
  const read = inputs.reduce((sum, input) => sum + sizeOf(input), 0);
  return read + (largestOutput(node, inputs) ?? 0) + productsOf(node, inputs) / VALUE;
}

/** How many products a node computes, at most. */
function productsOf(node: GraphNode, inputs: readonly SizedInput[]): number {
  const [x, y, z] = inputs;
  const {op} = node;
  if (op.includes('MatMul')) {
    const inner = x?.shape.at(flagOf(node, 'transpose_a') || flagOf(node, 'adj_x') ? -2 : -1) ?? 1;
    return inner * (largestOutput(node, inputs) ?? 0);
  }
  if (op === 'Conv2DBackpropInput') {
    return (sizeOf(z) * sizeOf(y)) / Math.max(1, y?.shape.at(-1) ?? 1);
  }
  if (/Conv\d|Depthwise|Dilation/.test(op)) {
    return pixels(x, node) * sizeOf(y);
  }
  if (op.includes('Pool')) {
    // A window is cut off where the image ends.
    return sizeOf(x) * Math.min(product(numbersOf(node, 'ksize')), pixels(x, node));
  }
  if (/^(Tile|BroadcastTo)$/.test(op)) {
    return VALUE * INDEXED * (largestOutput(node, inputs) ?? 0);
  }
  if (/^Select(V2)?$/.test(op)) {
    const size = largestOutput(node, inputs) ?? 0;
    return VALUE * INDEXED * size * inputs.filter(input => sizeOf(input) < size).length;
  }
  if (op.startsWith('TopK')) {
    return VALUE * INDEXED * sizeOf(x);
  }
  if (op === 'LRN') {
    return VALUE * sizeOf(x) * Math.min(2 * numberOf(node, 'depth_radius', 5) + 1, x?.shape.at(-1) ?? 1);
  }
  if (op.endsWith('FFT')) {
    return VALUE * sizeOf(x) * (x?.shape.at(-1) ?? 1);
  }
  return op === 'Einsum' ? VALUE * contracted(inputs, node, true) : 0;
}
