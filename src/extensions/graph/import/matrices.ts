import * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode, inputsOf, textOf} from '../graphDef';
import {broadcastSize, ofFirst, product, sizeOf, VALUE} from './bounds';
import {
  type Bound,
  type LayerRule,
  type Operation,
  type RowRule,
  rowFor,
  type ShapeRule,
  type SizedInput,
  type Work,
} from './operation';
import {byFirst, isFlow, mixed, shapeOf} from './rowRules';
import {KNOWN, knownShape} from './openSizes';
import {planWithTail, tailOf} from './tail';
import type {Value} from './values';

const multiplied: Bound = ([a, b], node) => {
  const rows = a?.shape.at(flagOf(node, 'transpose_a') || flagOf(node, 'adj_x') ? -1 : -2) ?? 1;
  const columns = b?.shape.at(flagOf(node, 'transpose_b') || flagOf(node, 'adj_y') ? -2 : -1) ?? 1;
  return rows * columns * broadcastSize([a, b].map(x => ({shape: x?.shape.slice(0, -2) ?? []})));
};

const multiplying: Work = ([x], node, size) => {
  const inner = x?.shape.at(flagOf(node, 'transpose_a') || flagOf(node, 'adj_x') ? -2 : -1) ?? 1;
  return (inner * size) / VALUE;
};

const productShape: ShapeRule = ([a = [], b = []], _, node) => {
  const [rows = 1, inner] = flagOf(node, 'adj_x') ? [a.at(-1), a.at(-2)] : a.slice(-2);
  const [rightInner, columns = 1] = flagOf(node, 'adj_y') ? [b.at(-1), b.at(-2)] : b.slice(-2);
  const lead = tf.backend_util.assertAndGetBroadcastShape(a.slice(0, -2), b.slice(0, -2));
  return inner === rightInner ? [...lead, rows, columns] : undefined;
};

/** Kernels of products repeat the matrices of a smaller operand, so each row must have all of the result's. */
const rowProducts: RowRule = ({node, values, ranks}) => {
  const [a, b, ...more] = values;
  const [left = 0, right = 0] = ranks;
  const rank = Math.max(left, right);
  const transposes = flagOf(node, 'transpose_a') || (flagOf(node, 'adj_x') && left === 2);
  // The fused bias and slopes.
  const areUnder = more.every((value, i) => {
    const itsRank = ranks[i + 2] ?? 0;
    return !isFlow(value) && (itsRank < rank || (itsRank === rank && shapeOf(value)[0] === 1));
  });
  return areUnder && (isFlow(b) ? right > 2 && broadcastsInto(a, b) : !transposes && broadcastsInto(b, a));
};

/** Whether an operand of a product has the same matrices in each row as the other, or one constant for several. */
function broadcastsInto(value: Value | undefined, flow: Value | undefined): boolean {
  const [ours, other] = [matricesOf(value), matricesOf(flow)];
  const lead = other.length - ours.length;
  return isFlow(value)
    ? ours.join() === other.join()
    : lead >= 0 && ours.every((size, i) => size === ONE || (i + lead > 0 && size === other[i + lead]));
}

/** The sizes of the axes before a tensor's matrices. */
function matricesOf(value: Value | undefined): string[] {
  const sizes = value?.kind === 'flow' ? value.sizes : [];
  return shapeOf(value)
    .slice(0, -2)
    .map((size, axis) => `${size} ${sizes[axis] ?? KNOWN}`);
}

const ONE = `1 ${KNOWN}`;

const rowEinsum: RowRule = ({node, values, ranks}) => {
  const [left = '', result = ''] = textOf(node, 'equation').replace(/\s/g, '').split('->');
  const batch = result[0] ?? '';
  return (
    /[a-z]/i.test(batch) &&
    result.lastIndexOf(batch) === 0 &&
    left
      .split(',')
      .every((letters, i) =>
        isFlow(values[i]) ? letters.length === ranks[i] && letters.lastIndexOf(batch) === 0 : !letters.includes(batch),
      )
  );
};

/** No equation has as many operands. */
const MAX_OPERANDS = 32;

/**
 * The largest product in computing an equation such as `ab,bc->ac`: from left to right, each with the letters that the
 * result or a later operand still needs. Letters are sizes of axes; `...` stands for any axes, which are broadcast.
 * Without an arrow the result has the letters that occur once.
 *
 * @param isWhole whether letters count in the product after which they are summed.
 */
function contracted(inputs: readonly SizedInput[], node: GraphNode, isWhole = false): number {
  const [left = '', right] = textOf(node, 'equation').replace(/\s/g, '').split('->');
  const operands = left.split(',');
  // Each is compared with all after it.
  if (operands.length > inputs.length || operands.length > MAX_OPERANDS) {
    return Infinity;
  }
  const letters = Array.from(left.replace(/[,.]/g, ''));
  const once = letters.filter(letter => letters.indexOf(letter) === letters.lastIndexOf(letter));
  const result = right ?? once.join('') + (left.includes('...') ? '...' : '');
  const sizes = new Map<string, number>();
  const rests = operands.map((operand, i) => {
    const shape = inputs[i]?.shape ?? [];
    const [before = '', after] = operand.split('...');
    const end = after === undefined ? before.length : shape.length - after.length;
    const keep = (letter: string, size = 1) => sizes.set(letter, Math.max(size, sizes.get(letter) ?? 1));
    Array.from(before).forEach((letter, axis) => keep(letter, shape[axis]));
    Array.from(after ?? '').forEach((letter, axis) => keep(letter, shape[end + axis]));
    return {shape: shape.slice(before.length, end)};
  });
  const lead = broadcastSize(rests);
  const products = operands.map((_, i) => {
    const needed = result + operands.slice(i + (isWhole ? 0 : 1)).join('');
    const letters = [...new Set(operands.slice(0, i + 1).join(''))].filter(letter => needed.includes(letter));
    const isOf = (letter: string) => letter !== '.';
    return product(letters.filter(isOf).map(letter => sizes.get(letter) ?? 1)) * (needed.includes('...') ? lead : 1);
  });
  return Math.max(...products);
}

/** A product with a constant matrix, as a `Dense`. */
const planMatMul: LayerRule = (node, planner) => {
  const [x = '', matrix] = inputsOf(node);
  const tensor = planner.constant(matrix);
  const flow = planner.floats(x);
  const isBatched = node.op.startsWith('BatchMatMul');
  const flag = isBatched ? 'adj_y' : 'transpose_b';
  if (!flow || tensor?.rank !== 2 || tensor.dtype !== 'float32' || flagOf(node, isBatched ? 'adj_x' : 'transpose_a')) {
    return false;
  }
  const transposed = flagOf(node, flag);
  const kernel = transposed ? planner.derive(tensor, 'transposed', () => tf.transpose(tensor)) : tensor;
  const units = kernel.shape[1] as number;
  const tail = tailOf(node, {filters: units, from: 2}, planner);
  const source = {node: node.name, index: 1, ...(transposed && {transposedBy: flag})};
  const layer = {className: 'Dense', config: {units}, inputs: [x], weights: {kernel: {tensor: kernel, source}}};
  return tail !== undefined && planWithTail(node, tail, layer, planner);
};

/** An Einsum that sums over the last axes with a constant, as in attention: a `Dense` between two `Reshape`. */
const planEinsum: LayerRule = (node, planner) => {
  const [x = '', matrix] = inputsOf(node);
  const tensor = planner.constant(matrix);
  const flow = planner.floats(x);
  const letters = /^([a-z]+),([a-z]+)->([a-z]+)$/i.exec(textOf(node, 'equation').replace(/\s/g, ''))?.slice(1);
  if (!flow || tensor?.dtype !== 'float32' || letters === undefined) {
    return false;
  }
  const [left = '', right = '', result = ''] = letters;
  const summed = Array.from(left)
    .filter(letter => right.includes(letter))
    .join('');
  const rowLetters = left.slice(0, left.length - summed.length);
  const added = right.slice(summed.length);
  const isProjection = left === rowLetters + summed && right === summed + added && result === rowLetters + added;
  const isPlain = new Set(rowLetters + summed + added).size === left.length + added.length;
  if (!isProjection || !isPlain || summed === '' || added === '' || rowLetters === '') {
    return false;
  }
  const sizes = knownShape(flow)
    .slice(1, rowLetters.length)
    .map(size => size ?? -1);
  if (sizes.filter(size => size === -1).length > 1) {
    return false; // a Reshape can infer only one size
  }
  const fanIn = tf.util.sizeFromShape(tensor.shape.slice(0, summed.length));
  const outs = tensor.shape.slice(summed.length);
  const units = tf.util.sizeFromShape(outs);
  const kernel =
    tensor.rank === 2 ? tensor : planner.derive(tensor, `${fanIn} rows`, () => tf.reshape(tensor, [fanIn, units]));
  const reshape = (suffix: string, input: string, targetShape: number[]) =>
    planner.addLayer(node, {suffix, className: 'Reshape', config: {targetShape}, inputs: [input]});
  if (summed.length > 1) {
    reshape('flat', x, [...sizes, fanIn]);
  }
  planner.addLayer(node, {
    className: 'Dense',
    config: {units, useBias: false, activation: 'linear'},
    inputs: [summed.length > 1 ? node.name : x],
    weights: {kernel: {tensor: kernel, source: {node: node.name, index: 1, shape: tensor.shape}}},
  });
  if (outs.length > 1) {
    reshape('split', node.name, [...sizes, ...outs]);
  }
  return true;
};

const matMul: Operation = {size: multiplied, rows: rowProducts, work: multiplying, layer: planMatMul};
const transformed: Operation = {
  size: ofFirst,
  rows: mixed,
  work: ([x]) => sizeOf(x) * (x?.shape.at(-1) ?? 1),
};

/** Operations on matrices, and Fourier transforms. */
export const MATRICES: Readonly<Record<string, Operation>> = {
  ...rowFor('MatMul _FusedMatMul', matMul),
  ...rowFor('BatchMatMul BatchMatMulV2', {...matMul, shape: productShape}),
  Einsum: {
    size: contracted,
    rows: rowEinsum,
    work: (inputs, node) => contracted(inputs, node, true),
    layer: planEinsum,
  },
  MatrixBandPart: {size: ofFirst, rows: subject => byFirst(subject) && (subject.ranks[0] ?? 0) > 2},
  ...rowFor('FFT IFFT RFFT', transformed),
  // A spectrum of n values becomes 2 · (n - 1).
  IRFFT: {...transformed, size: ([x]) => 2 * sizeOf(x)},
};
