import type * as tf from '@tensorflow/tfjs';
import type {GraphNode} from '../../graph/graphDef';
import {activationAfter, type Rule} from './activations';
import {range} from './lowering';
import {attribute, type Entry, type OnnxCall} from './onnxCall';

/** How the layer of a product differs from a plain `Dense`. */
interface DenseOptions {
  bias?: string | undefined;
  /** Nodes that its kernel computes already. */
  absorbed?: readonly GraphNode[];
  /** Whether no other node becomes part of it. */
  isAlone?: boolean;
  className?: string;
  config?: tf.serialization.ConfigDict;
  /** The name that the layer has for its matrix. */
  weight?: string;
}

/** A product with a constant matrix, with the bias and the activation after it, as a `Dense`. */
export function dense(
  call: OnnxCall,
  x: string,
  kernel: string,
  units: number,
  {
    bias,
    absorbed: before = [],
    isAlone = false,
    className = 'Dense',
    config = {},
    weight = 'kernel',
  }: DenseOptions = {},
): void {
  const absorbed = [...before];
  let [last, added] = [before.at(-1) ?? call.node, bias];
  const sum = bias === undefined && !isAlone ? call.follower(last, 'Add') : undefined;
  const index = sum ? 1 - sum.placeOf(last) : 0;
  if (sum?.count === 2 && sum.low.file.keys.has(sum.proto.inputs[index] ?? '')) {
    const value = call.planner.valueOf(sum.key(index));
    const shape = value === undefined ? [] : range(sum.rank(index)).map(axis => sum.size(index, axis));
    // One value for each unit.
    if (
      value?.kind === 'constant' &&
      shape.at(-1) === units &&
      shape.slice(0, -1).every(size => size === 1) &&
      shape.length <= call.rank()
    ) {
      added = call.low.weight(sum.node.name, index, shape.length > 1 ? {shape: [units]} : {});
    }
    if (added !== undefined) {
      absorbed.push(sum.node);
      last = sum.node;
    }
  }
  const {activation, absorbed: more} = isAlone ? {activation: 'linear', absorbed: []} : activationAfter(call, last);
  const own = {units, useBias: added !== undefined, activation, ...config};
  call.give(call.layer(className, own, [x], {[weight]: kernel, bias: added}), undefined, [...absorbed, ...more]);
}

export const matMul: Rule = async call => {
  const [left, right] = [call.rank(0), call.rank(1)];
  if (call.planner.floats(call.key(0)) !== undefined && right === 2) {
    const kernel = call.low.weight(call.node.name, 1);
    const units = call.size(1, 1);
    if (kernel !== undefined && units !== undefined) {
      dense(call, await call.plain(0), kernel, units);
      return;
    }
  }
  if (left < 2 || right < 2) {
    call.refuse('takes a vector');
  }
  await stackProduct(call, [await call.plain(0), await call.plain(1)]);
};

/** A product of the inputs, or of what was computed from them in the same shapes. */
export async function stackProduct(call: OnnxCall, [left, right]: readonly [string, string]): Promise<void> {
  const isPlain = call.rank(0) === 2 && call.rank(1) === 2;
  const stacks = [await tiled(call, 0, left), await tiled(call, 1, right)];
  call.give(await call.emit(isPlain ? 'MatMul' : 'BatchMatMulV2', stacks));
}

/**
 * An operand of a product of stacks, tiled along axes of size 1 that come after a longer axis. tfjs repeats a stack as
 * a whole, which gives wrong products there: `[2, 1, 3, 4] · [2, 5, 4, 6]`.
 */
async function tiled(call: OnnxCall, index: number, operand: string): Promise<string> {
  const other = 1 - index;
  const shift = call.rank(other) - call.rank(index);
  const multiples: Entry[] = [];
  let isAfterLonger = false;
  for (const axis of range(call.rank(index) - 2)) {
    const isOne = call.size(index, axis) === 1;
    const at = axis + shift;
    const isStretched = isAfterLonger && isOne && at >= 0 && call.size(other, at) !== 1;
    multiples.push(isStretched ? await call.entry(other, at) : 1);
    isAfterLonger ||= !isOne;
  }
  return multiples.every(multiple => multiple === 1)
    ? operand
    : call.emit('Tile', [operand, await call.vector([...multiples, 1, 1])]);
}

export const gemm: Rule = async call => {
  const orderOf = (name: string) => (call.int(name, 0) === 0 ? [0, 1] : [1, 0]);
  const [alpha, beta] = [call.float('alpha', 1), call.float('beta', 1)];
  const units = call.size(1, call.int('transB', 0) === 0 ? 1 : 0);
  const kernel = call.low.weight(call.node.name, 1, {perm: orderOf('transB')});
  const x = await call.held(call.key(0), orderOf('transA'));
  if (kernel !== undefined && call.size(0, orderOf('transA')[1] ?? 1) === undefined) {
    call.refuse('multiplies its matrix by an axis of dynamic size, which must have a size in the file');
  }
  const isDense =
    call.planner.floats(call.key(0)) !== undefined && alpha === 1 && kernel !== undefined && units !== undefined;
  const fits =
    !call.has(2) || (call.size(2, call.rank(2) - 1) === units && (call.rank(2) === 1 || call.size(2, 0) === 1));
  const bias =
    call.has(2) && fits && beta === 1 ? call.low.weight(call.node.name, 2, {shape: [units ?? 1]}) : undefined;
  if (isDense && (!call.has(2) || bias !== undefined)) {
    dense(call, x, kernel, units, {bias});
    return;
  }
  const product = await call.emit('MatMul', [x, kernel ?? (await call.held(call.key(1), orderOf('transB')))]);
  const scaled = alpha === 1 ? product : await call.emit('Mul', [product, call.scalar(alpha)]);
  if (!call.has(2)) {
    call.give(scaled);
    return;
  }
  const term = beta === 1 ? await call.plain(2) : await call.emit('Mul', [await call.plain(2), call.scalar(beta)]);
  call.give(await call.emit('AddV2', [scaled, term]));
};

/** As many axes as an ellipsis of an Einsum stands for. */
const MOST_BETWEEN = 8;

/** An equation without ellipses, and with its result. */
function spelledOut(call: OnnxCall): {operands: string[]; result: string} {
  const [left = '', right] = call.text('equation', '').replace(/\s/g, '').split('->');
  const unused = Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZ').filter(letter => !left.includes(letter));
  // Ellipses are broadcast, from the last of their axes.
  const between = (count: number) =>
    unused
      .slice(0, MOST_BETWEEN)
      .slice(MOST_BETWEEN - count)
      .join('');
  const given = left.split(',');
  const counts = given.map((letters, i) => (letters.includes('...') ? call.rank(i) - letters.length + 3 : 0));
  const operands = given.map((letters, i) => letters.replace('...', between(counts[i] ?? 0)));
  const all = operands.join('');
  const most = between(Math.max(0, ...counts));
  const single = Array.from(given.join('').replaceAll('.', ''))
    .filter((letter, _, list) => list.indexOf(letter) === list.lastIndexOf(letter))
    .sort();
  const result = right === undefined ? most + single.join('') : right.replace('...', most);
  const isPlain = (letters: string) => /^[a-z]*$/i.test(letters);
  const fits = operands.every((letters, i) => isPlain(letters) && call.rank(i) === letters.length);
  if (
    !fits ||
    operands.length !== call.count ||
    !isPlain(result) ||
    new Set(result).size < result.length ||
    Array.from(result).some(one => !all.includes(one))
  ) {
    call.refuse(
      `has the equation ${call.text('equation', '').slice(0, 40)}, where one such as ij,jk->ik is supported, with ` +
        'each letter once in the result',
    );
  }
  return {operands, result};
}

/** An operand of an equation with each letter once: axes that share one become their diagonal, at the end. */
async function diagonals(call: OnnxCall, index: number, letters: string): Promise<{tensor: string; letters: string}> {
  const sizes = new Map<string, Entry>();
  for (const [axis, letter] of Array.from(letters).entries()) {
    sizes.set(letter, await call.entry(index, axis));
  }
  let [tensor, order] = [await call.plain(index), letters];
  for (const letter of sizes.keys()) {
    const others = order.replaceAll(letter, '');
    const count = order.length - others.length;
    if (count > 1) {
      const axes = range(letters.length).filter(axis => letters[axis] === letter);
      const [size, ...more] = axes.map(axis => call.size(index, axis));
      if (size === undefined || more.some(each => each !== size)) {
        call.refuse(`takes the diagonal of the axes ${letter}, which need one size that is fixed`);
      }
      const perm = range(order.length).sort((a, b) => Number(order[a] === letter) - Number(order[b] === letter));
      const last = await call.emit('Transpose', [tensor, call.constant(perm)]);
      const rows = Array.from(others, other => sizes.get(other) as Entry);
      const flat = await call.reshaped(last, [...rows, size ** count]);
      // From one value of the diagonal to the next: 1 + size + size² + …
      const step = range(count).reduce((sum, power) => sum + size ** power, 0);
      const places = call.constant(call.below(size).map(place => place * step));
      tensor = await call.emit('GatherV2', [flat, places, call.scalar(others.length, 'int32')]);
      order = others + letter;
    }
  }
  return {tensor, letters: order};
}

/** Of two operands at a time: some backends know no more. */
export const einsum: Rule = async call => {
  const {operands: written, result} = spelledOut(call);
  const tensors: string[] = [];
  const operands: string[] = [];
  for (const [i, each] of written.entries()) {
    const operand = await diagonals(call, i, each);
    tensors.push(operand.tensor);
    operands.push(operand.letters);
  }
  let [[letters = ''], [product = '']] = [operands, tensors];
  const emit = (equation: string, ...inputs: string[]) =>
    call.emit('Einsum', inputs, {equation: attribute.text(equation), N: attribute.int(inputs.length)});
  if (operands.length === 1) {
    call.give(await emit(`${letters}->${result}`, product));
    return;
  }
  for (const [i, next] of operands.entries()) {
    if (i > 0) {
      const rest = operands.slice(i + 1).join('');
      const kept =
        rest === '' ? result : [...new Set(letters + next)].filter(one => (result + rest).includes(one)).join('');
      product = await emit(`${letters},${next}->${kept}`, product, tensors[i] ?? '');
      letters = kept;
    }
  }
  call.give(product);
};
