import * as tf from '@tensorflow/tfjs';
import type {GraphNode} from '../graphDef';
import {operationOf} from './operations';
import {KNOWN, type OpenSizes} from './openSizes';
import {type Constant, constantAt, type Shaped, type SizeId} from './values';

/** A node that computes with numbers made of sizes. */
interface Computed {
  node: GraphNode;
  inputs: readonly (Constant | Shaped)[];
  /** The size of each output; `undefined` if it varies between runs. */
  counts: readonly (number | undefined)[];
  /** Runs the node. */
  run: (tensors: readonly tf.Tensor[]) => tf.Tensor[];
}

/** Returns what the numbers of each output are made of: a size for each, or one for all if their count is open. */
export async function sizesOf(open: OpenSizes, computed: Computed): Promise<SizeId[][]> {
  const {node, inputs, counts} = computed;
  const {moves, combines} = operationOf(node);
  const places = moves?.(node, inputs.length);
  const areCounted = counts.every(count => count !== undefined) && inputs.every(isCounted);
  if (areCounted && places !== undefined && inputs.every(({kind}, i) => places.includes(i) || kind === 'constant')) {
    return moved(computed, places);
  }
  const [count = 0] = counts;
  const operandNumbers = areCounted && combines !== undefined ? inputs.map(sizedNumbers) : [];
  if (operandNumbers.length > 0 && operandNumbers.every(({ids}) => [1, count].includes(ids.length))) {
    const operands = (i: number) => operandNumbers.map(numbers => numberAt(numbers, i));
    return [Array.from({length: count}, (_, i) => combined(open, node, operands(i)))];
  }
  const all = [...new Set(inputs.flatMap(input => (input.kind === 'shaped' ? input.sizes : [])))];
  return counts.map(length => open.eachMadeOf(all, length ?? 1));
}

function isCounted(input: Constant | Shaped): boolean {
  return input.kind === 'constant' || input.sizes.length === input.pair[0].tensor.size;
}

/** Runs an op that moves numbers, with the ids of sizes instead of numbers, to learn where each goes. */
async function moved({inputs, run}: Computed, places: readonly number[]): Promise<SizeId[][]> {
  const results = tf.tidy(() =>
    run(
      inputs.map((input, i) => {
        const tensor = constantAt(input).tensor;
        return places.includes(i) ? tf.tensor(idsOf(input), tensor.shape, 'int32') : tensor;
      }),
    ),
  );
  try {
    return await Promise.all(results.map(async result => Array.from(await result.data())));
  } finally {
    tf.dispose(results);
  }
}

/** One number of an input: the size that it is made of, and its value if it is known. */
interface SizedNumber {
  id: SizeId;
  value: number;
}

function combined(open: OpenSizes, node: GraphNode, numbers: readonly SizedNumber[]): SizeId {
  const {combines} = operationOf(node);
  const [a, b] = numbers as [SizedNumber, SizedNumber];
  const [size, constant] = a.id === KNOWN && combines !== 'difference' ? [b, a] : [a, b];
  if (constant.id === KNOWN && size.id !== KNOWN) {
    switch (combines) {
      case 'product':
        return open.scaled(size.id, constant.value, 0);
      case 'sum':
        return open.scaled(size.id, 1, constant.value);
      case 'difference':
        return open.scaled(size.id, 1, -constant.value);
    }
  }
  return open.madeOf([a.id, b.id]);
}

/** The numbers of an input. */
interface SizedNumbers {
  ids: readonly SizeId[];
  values: Constant['values'];
}

function sizedNumbers(input: Constant | Shaped): SizedNumbers {
  return {ids: idsOf(input), values: constantAt(input).values};
}

function numberAt({ids, values}: SizedNumbers, place: number): SizedNumber {
  const at = ids.length === 1 ? 0 : place;
  return {id: ids[at] as SizeId, value: values?.[at] ?? Number.NaN};
}

function idsOf(input: Constant | Shaped): readonly SizeId[] {
  return input.kind === 'shaped' ? input.sizes : new Array<SizeId>(input.tensor.size).fill(KNOWN);
}
