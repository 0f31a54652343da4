import type * as tf from '@tensorflow/tfjs';
import type {GraphNode} from '../../graph/graphDef';
import {activationAfter, type Rule} from './activations';
import {range} from './lowering';
import {attribute, type ShapeEntry, type OnnxCall} from './onnxCall';

/** The differences of a layer from a plain `Dense`. */
interface DenseOptions {
  bias?: string | undefined;
  /** Nodes that the kernel already includes. */
  absorbed?: readonly GraphNode[];
  /** Whether no following node is fused. */
  fusesNothing?: boolean;
  className?: string;
  config?: tf.serialization.ConfigDict;
  /** The layer's name for its matrix. */
  weight?: string;
}

/** Plans a product with a constant matrix as a `Dense`, with the bias and the activation that follow. */
export function dense(
  call: OnnxCall,
  x: string,
  kernel: string,
  units: number,
  {
    bias,
    absorbed: before = [],
    fusesNothing: isAlone = false,
    className = 'Dense',
    config = {},
    weight = 'kernel',
  }: DenseOptions = {},
): void {
  const absorbed = [...before];
  let [last, biasName] = [before.at(-1) ?? call.node, bias];
  const sum = bias === undefined && !isAlone ? call.follower(last, 'Add') : undefined;
  const index = sum ? 1 - sum.inputIndexOf(last) : 0;
  if (sum?.count === 2 && sum.lowering.file.keys.has(sum.proto.inputs[index] ?? '')) {
    const value = call.planner.valueOf(sum.key(index));
    const shape = value === undefined ? [] : range(sum.rank(index)).map(axis => sum.size(index, axis));
    // A bias has one value for each unit.
    if (
      value?.kind === 'constant' &&
      shape.at(-1) === units &&
      shape.slice(0, -1).every(size => size === 1) &&
      shape.length <= call.rank()
    ) {
      biasName = call.lowering.weight(sum.node.name, index, shape.length > 1 ? {shape: [units]} : {});
    }
    if (biasName !== undefined) {
      absorbed.push(sum.node);
      last = sum.node;
    }
  }
  const {activation, absorbed: more} = isAlone ? {activation: 'linear', absorbed: []} : activationAfter(call, last);
  const denseConfig = {units, useBias: biasName !== undefined, activation, ...config};
  call.setOutput(call.layer(className, denseConfig, [x], {[weight]: kernel, bias: biasName}), undefined, [
    ...absorbed,
    ...more,
  ]);
}

export const matMul: Rule = async call => {
  const [left, right] = [call.rank(0), call.rank(1)];
  if (call.planner.floats(call.key(0)) !== undefined && right === 2) {
    const kernel = call.lowering.weight(call.node.name, 1);
    const units = call.size(1, 1);
    if (kernel !== undefined && units !== undefined) {
      dense(call, await call.input(0), kernel, units);
      return;
    }
  }
  if (left < 2 || right < 2) {
    call.refuse('The node takes a vector.');
  }
  await stackProduct(call, [await call.input(0), await call.input(1)]);
};

/** A batched matrix product of the inputs, or of tensors of the same shapes. */
export async function stackProduct(call: OnnxCall, [left, right]: readonly [string, string]): Promise<void> {
  const isPlain = call.rank(0) === 2 && call.rank(1) === 2;
  const stacks = [await tileForBroadcast(call, 0, left), await tileForBroadcast(call, 1, right)];
  call.setOutput(await call.emit(isPlain ? 'MatMul' : 'BatchMatMulV2', stacks));
}

/**
 * Tiles an operand of a batched product along batch axes of size 1 that follow a longer one. tfjs repeats the batch as
 * a whole, which gives wrong products there: `[2, 1, 3, 4] · [2, 5, 4, 6]`.
 */
async function tileForBroadcast(call: OnnxCall, index: number, operand: string): Promise<string> {
  const other = 1 - index;
  const shift = call.rank(other) - call.rank(index);
  const multiples: ShapeEntry[] = [];
  let isAfterLonger = false;
  for (const axis of range(call.rank(index) - 2)) {
    const isOne = call.size(index, axis) === 1;
    const at = axis + shift;
    const isStretched = isAfterLonger && isOne && at >= 0 && call.size(other, at) !== 1;
    multiples.push(isStretched ? await call.sizeEntry(other, at) : 1);
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
  const kernel = call.lowering.weight(call.node.name, 1, {perm: orderOf('transB')});
  const x = await call.permuted(call.key(0), orderOf('transA'));
  if (kernel !== undefined && call.size(0, orderOf('transA')[1] ?? 1) === undefined) {
    call.refuse('The node multiplies its matrix by an axis of dynamic size, which must have a size in the file.');
  }
  const isDense =
    call.planner.floats(call.key(0)) !== undefined && alpha === 1 && kernel !== undefined && units !== undefined;
  const fits =
    !call.has(2) || (call.size(2, call.rank(2) - 1) === units && (call.rank(2) === 1 || call.size(2, 0) === 1));
  const bias =
    call.has(2) && fits && beta === 1 ? call.lowering.weight(call.node.name, 2, {shape: [units ?? 1]}) : undefined;
  if (isDense && (!call.has(2) || bias !== undefined)) {
    dense(call, x, kernel, units, {bias});
    return;
  }
  const product = await call.emit('MatMul', [x, kernel ?? (await call.permuted(call.key(1), orderOf('transB')))]);
  const scaled = alpha === 1 ? product : await call.emit('Mul', [product, call.scalar(alpha)]);
  if (!call.has(2)) {
    call.setOutput(scaled);
    return;
  }
  const term = beta === 1 ? await call.input(2) : await call.emit('Mul', [await call.input(2), call.scalar(beta)]);
  call.setOutput(await call.emit('AddV2', [scaled, term]));
};

/** The largest number of axes that an ellipsis of an Einsum can stand for. */
const MAX_ELLIPSIS_AXES = 8;

/** The equation of an Einsum with its ellipses expanded and its result written out. */
function expandEquation(call: OnnxCall): {operands: string[]; result: string} {
  const [left = '', right] = call.text('equation', '').replace(/\s/g, '').split('->');
  const unused = Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZ').filter(letter => !left.includes(letter));
  // Ellipses broadcast from their last axis.
  const ellipsisLetters = (count: number) =>
    unused
      .slice(0, MAX_ELLIPSIS_AXES)
      .slice(MAX_ELLIPSIS_AXES - count)
      .join('');
  const written = left.split(',');
  const counts = written.map((letters, i) => (letters.includes('...') ? call.rank(i) - letters.length + 3 : 0));
  const operands = written.map((letters, i) => letters.replace('...', ellipsisLetters(counts[i] ?? 0)));
  const all = operands.join('');
  const ellipsisOfResult = ellipsisLetters(Math.max(0, ...counts));
  const lettersOnce = Array.from(written.join('').replaceAll('.', ''))
    .filter((letter, _, list) => list.indexOf(letter) === list.lastIndexOf(letter))
    .sort();
  const result = right === undefined ? ellipsisOfResult + lettersOnce.join('') : right.replace('...', ellipsisOfResult);
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
      `The node has the equation ${call.text('equation', '').slice(0, 40)}, where one such as ij,jk->ik is ` +
        'supported, with each letter once in the result.',
    );
  }
  return {operands, result};
}

/** Replaces the axes of an operand that share a letter by their diagonal, which becomes the last axis. */
async function takeDiagonals(
  call: OnnxCall,
  index: number,
  letters: string,
): Promise<{tensor: string; letters: string}> {
  const sizes = new Map<string, ShapeEntry>();
  for (const [axis, letter] of Array.from(letters).entries()) {
    sizes.set(letter, await call.sizeEntry(index, axis));
  }
  let [tensor, order] = [await call.input(index), letters];
  for (const letter of sizes.keys()) {
    const remaining = order.replaceAll(letter, '');
    const count = order.length - remaining.length;
    if (count > 1) {
      const axes = range(letters.length).filter(axis => letters[axis] === letter);
      const [size, ...more] = axes.map(axis => call.size(index, axis));
      if (size === undefined || more.some(axisSize => axisSize !== size)) {
        call.refuse(`The node takes the diagonal of the axes ${letter}, which need one size that is fixed.`);
      }
      const perm = range(order.length).sort((a, b) => Number(order[a] === letter) - Number(order[b] === letter));
      const last = await call.emit('Transpose', [tensor, call.constant(perm)]);
      const rows = Array.from(remaining, other => sizes.get(other) as ShapeEntry);
      const flat = await call.reshaped(last, [...rows, size ** count]);
      // The distance between values of the diagonal: 1 + size + size² + …
      const step = range(count).reduce((sum, power) => sum + size ** power, 0);
      const places = call.constant(call.indicesBelow(size).map(place => place * step));
      tensor = await call.emit('GatherV2', [flat, places, call.scalar(remaining.length, 'int32')]);
      order = remaining + letter;
    }
  }
  return {tensor, letters: order};
}

/** Contracts two operands at a time, because some backends support no more. */
export const einsum: Rule = async call => {
  const {operands: written, result} = expandEquation(call);
  const tensors: string[] = [];
  const operands: string[] = [];
  for (const [i, operandLetters] of written.entries()) {
    const operand = await takeDiagonals(call, i, operandLetters);
    tensors.push(operand.tensor);
    operands.push(operand.letters);
  }
  let [[letters = ''], [product = '']] = [operands, tensors];
  const emit = (equation: string, ...inputs: string[]) =>
    call.emit('Einsum', inputs, {equation: attribute.text(equation), N: attribute.int(inputs.length)});
  if (operands.length === 1) {
    call.setOutput(await emit(`${letters}->${result}`, product));
    return;
  }
  for (const [i, next] of operands.entries()) {
    if (i > 0) {
      const laterLetters = operands.slice(i + 1).join('');
      const productLetters =
        laterLetters === ''
          ? result
          : [...new Set(letters + next)].filter(one => (result + laterLetters).includes(one)).join('');
      product = await emit(`${letters},${next}->${productLetters}`, product, tensors[i] ?? '');
      letters = productLetters;
    }
  }
  call.setOutput(product);
};
