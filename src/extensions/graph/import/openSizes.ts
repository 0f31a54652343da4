import * as tf from '@tensorflow/tfjs';
import {type GraphNode, typeOf} from '../graphDef';
import type {Constant, Shaped, SizeId} from './values';

/** A value that is the same in every run. */
export const KNOWN: SizeId = 0;
/** The batch size of the inputs. */
export const BATCH: SizeId = 1;

/** How much is known about a value that varies between runs. */
interface OpenSize {
  /** Whether it depends on a size that the graph leaves open. */
  isOpen: boolean;
  /** Whether it depends on the graph's batch size while that is being freed: then other batches would be wrong. */
  isFreed: boolean;
  /** `times · of + plus`. */
  linear?: {of: SizeId; times: number; plus: number};
}

/** The sizes that are unknown when a graph is planned. */
export class OpenSizes {
  private readonly list: OpenSize[];
  private readonly linear = new Map<string, SizeId>();

  /** @param frees whether the graph's own batch size is being freed. */
  constructor(frees: boolean) {
    this.list = [
      {isOpen: false, isFreed: false},
      {isOpen: !frees, isFreed: frees},
    ];
  }

  /** A completely unknown size. */
  another(): SizeId {
    return this.list.push({isOpen: true, isFreed: false}) - 1;
  }

  /** A number that is known only to depend on some sizes. */
  madeOf(sizes: readonly SizeId[]): SizeId {
    return this.eachMadeOf(sizes, 1)[0] as SizeId;
  }

  /** Several of these values. */
  eachMadeOf(sizes: readonly SizeId[], count: number): SizeId[] {
    if (sizes.every(size => size === KNOWN)) {
      return new Array<SizeId>(count).fill(KNOWN);
    }
    const size = {isOpen: this.isOpen(sizes), isFreed: this.isFreed(sizes)};
    return Array.from({length: count}, () => this.list.push(size) - 1);
  }

  /** `times · size + plus`. */
  scaled(size: SizeId, times: number, plus: number): SizeId {
    const {of, ...line} = this.lineOf(size);
    const linear = {of, times: line.times * times, plus: line.plus * times + plus};
    if (linear.times === 1 && linear.plus === 0) {
      return of;
    }
    const key = JSON.stringify(linear);
    const known = this.linear.get(key) ?? this.list.push({...(this.list[of] as OpenSize), linear}) - 1;
    this.linear.set(key, known);
    return known;
  }

  /** A number as a multiple of a size, plus a constant. */
  lineOf(size: SizeId): {of: SizeId; times: number; plus: number} {
    return this.list[size]?.linear ?? {of: size, times: 1, plus: 0};
  }

  isOpen(sizes: readonly SizeId[]): boolean {
    return sizes.some(size => this.list[size]?.isOpen);
  }

  isFreed(sizes: readonly SizeId[]): boolean {
    return sizes.some(size => this.list[size]?.isFreed);
  }
}

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
  const places = movedInputs(node, inputs.length);
  const areCounted = counts.every(count => count !== undefined) && inputs.every(isCounted);
  if (areCounted && places !== undefined && inputs.every(({kind}, i) => places.includes(i) || kind === 'constant')) {
    return moved(computed, places);
  }
  const [count = 0] = counts;
  const given = areCounted && ELEMENTWISE.has(node.op) ? inputs.map(numbersOf) : [];
  if (given.length > 0 && given.every(({ids}) => [1, count].includes(ids.length))) {
    const operands = (i: number) => given.map(numbers => numberAt(numbers, i));
    return [Array.from({length: count}, (_, i) => combined(open, node, operands(i)))];
  }
  const all = [...new Set(inputs.flatMap(input => (input.kind === 'shaped' ? input.sizes : [])))];
  return counts.map(each => open.eachMadeOf(all, each ?? 1));
}

function isCounted(input: Constant | Shaped): boolean {
  return input.kind === 'constant' || input.sizes.length === input.pair[0].tensor.size;
}

/** The inputs whose values an op passes on unchanged. Its other inputs say which and where to. */
function movedInputs(node: GraphNode, count: number): number[] | undefined {
  switch (node.op) {
    case 'StridedSlice':
    case 'Slice':
    case 'GatherV2':
    case 'Reshape':
    case 'Squeeze':
    case 'ExpandDims':
    case 'Transpose':
    case 'Unpack':
    case 'SplitV':
      return [0];
    case 'Split':
      return [1];
    case 'Pack':
      return Array.from({length: count}, (_, i) => i);
    case 'ConcatV2':
      return Array.from({length: count - 1}, (_, i) => i);
    case 'Cast':
      return typeOf(node, 'DstT') === 'bool' ? undefined : [0];
    default:
      return undefined;
  }
}

/** Runs such an op with the ids of sizes instead of numbers, to learn where each goes. */
async function moved({inputs, run}: Computed, places: readonly number[]): Promise<SizeId[][]> {
  const results = tf.tidy(() =>
    run(
      inputs.map((input, i) => {
        const tensor = tensorOf(input);
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

const ELEMENTWISE = new Set('Mul Add AddV2 Sub FloorDiv RealDiv Div FloorMod Maximum Minimum'.split(' '));

/** One number of an input: the size that it is made of, and its value if it is known. */
interface SizedNumber {
  id: SizeId;
  value: number;
}

function combined(open: OpenSizes, {op}: GraphNode, numbers: readonly SizedNumber[]): SizeId {
  const [a, b] = numbers as [SizedNumber, SizedNumber];
  const [size, known] = a.id === KNOWN && op !== 'Sub' ? [b, a] : [a, b];
  if (known.id === KNOWN && size.id !== KNOWN) {
    switch (op) {
      case 'Mul':
        return open.scaled(size.id, known.value, 0);
      case 'Add':
      case 'AddV2':
        return open.scaled(size.id, 1, known.value);
      case 'Sub':
        return open.scaled(size.id, 1, -known.value);
    }
  }
  return open.madeOf([a.id, b.id]);
}

/** The numbers of an input. */
interface SizedNumbers {
  ids: readonly SizeId[];
  values: Constant['values'];
}

function numbersOf(input: Constant | Shaped): SizedNumbers {
  return {ids: idsOf(input), values: (input.kind === 'shaped' ? input.pair[0] : input).values};
}

function numberAt({ids, values}: SizedNumbers, place: number): SizedNumber {
  const at = ids.length === 1 ? 0 : place;
  return {id: ids[at] as SizeId, value: values?.[at] ?? Number.NaN};
}

function tensorOf(input: Constant | Shaped): tf.Tensor {
  return input.kind === 'shaped' ? input.pair[0].tensor : input.tensor;
}

function idsOf(input: Constant | Shaped): readonly SizeId[] {
  return input.kind === 'shaped' ? input.sizes : new Array<SizeId>(input.tensor.size).fill(KNOWN);
}
