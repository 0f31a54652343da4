import * as tf from '@tensorflow/tfjs';
import {sizeOf, transpose, type Values} from '../../../platform/formats/layout';
import {type GraphAttribute, type GraphNode, keyOf} from '../../graph/graphDef';
import type {Planner} from '../../graph/import/planner';
import type {Constant, PlannedWeight, Value} from '../../graph/import/values';
import type {OnnxTensor, TensorData} from '../file/onnxTensor';
import type {OnnxNode} from '../file/readOnnx';

/** The operations of a file, as nodes that a planner knows by name. */
export interface OnnxOperations {
  nodes: Map<string, OnnxNode>;
  /** By the name of a value: the key that it has in the plan. */
  keys: Map<string, string>;
  /** By key: initializers, and the values of `Constant` nodes. */
  tensors: ReadonlyMap<string, OnnxTensor>;
  /** By domain: the version of its operations. */
  opsets: ReadonlyMap<string, number>;
}

/** How a layer holds a tensor of a file: what is done to it, in this order. */
export interface Arrangement {
  /** Where the part of the first axis begins that is meant, and its size. */
  part?: readonly [from: number, size: number];
  shape?: readonly number[];
  /** Whether the parts of the first axis, two, are added. */
  added?: boolean;
  /** The order of the parts of the first axis. */
  order?: readonly number[];
  perm?: readonly number[];
  /** The shape in the end, where it is another one. */
  to?: readonly number[];
}

/** The tensor in the file for a weight of a layer. */
export interface WeightOrigin extends Arrangement {
  /** A node, and which of its inputs. */
  node: string;
  index: number;
}

/** A product with a quantized matrix, or a convolution with a quantized kernel. */
export interface QuantizedProduct {
  /** The nodes that compute it. The last one gives it as floats. */
  nodes: readonly string[];
  /** The name of what is multiplied, as floats unless `input` is there. */
  x: string;
  /** Where it is integers, and where the result is: the names of its scale and, unless that is 0, of its zero. */
  input?: readonly string[];
  output?: readonly string[];
  /** The name of a bias that the last node adds. */
  bias?: string | undefined;
}

/** Constants of no more values than this are read by the plan. */
const FEW = 4096;

/** Shared by the nodes of a file while it is planned. */
export class Lowering {
  /** By the names of constants that layers are given as weights. */
  readonly origins = new Map<string, WeightOrigin>();
  /** By the names of constants that are made of quantized ones: the products that they are for. */
  readonly quantized = new Map<string, QuantizedProduct>();
  /** By the names of convolutions that were of integers: what they are in the file, if it can be written. */
  readonly convolutions = new Map<string, QuantizedProduct | undefined>();
  /** The names of constants that nodes dequantize. */
  readonly dequantized = new Set<string>();
  /** How values are held: the axis of the value that each axis of its tensor is. In order, if it is not here. */
  private readonly perms = new WeakMap<Value, readonly number[]>();
  /** By a key and what was made of it: the name of the result. */
  private readonly made = new Map<string, string>();
  private readonly arranged = new Map<string, Constant>();
  private readonly named = new Set<string>();
  private readonly ids = new WeakMap<Constant, string>();
  private count = 0;

  constructor(
    readonly planner: Planner,
    readonly file: OnnxOperations,
  ) {}

  /** Adds a node in the place of one of the file. Its inputs are keys. */
  addNode(node: GraphNode, proto: OnnxNode): void {
    const {nodes, keys} = this.file;
    nodes.set(node.name, proto);
    proto.inputs.forEach(key => keys.set(key, key.includes(':') ? key : keyOf(key)));
    this.planner.addNode(node, this.layerName(node.name.replace(/#\d+$/, ''), undefined), 1);
  }

  /** A name that no other node or constant has. */
  freshName(node: string): string {
    return `${node}#${this.count++}`;
  }

  /** The name of a layer of a node: its own, once, for the layer that it is about. */
  layerName(node: string, part: string | undefined): string {
    if (part !== undefined || this.named.has(node)) {
      return this.planner.nameOf(node, part ?? 'more');
    }
    this.named.add(node);
    return this.planner.nameOf(node);
  }

  rankOf(value: Value | undefined, key: string): number {
    const stored = this.file.tensors.get(key);
    switch (value?.kind) {
      case 'flow':
        return value.shapes[0].length;
      case 'shaped':
        return value.pair[0].tensor.rank;
      default:
        return stored?.shape.length ?? value?.tensor.rank ?? 0;
    }
  }

  /** How a value is held. */
  permOf(value: Value | undefined, rank: number): readonly number[] {
    return (value && this.perms.get(value)) ?? range(rank);
  }

  /** Says that an output of a node is what has been computed under another name, held by `perm`. */
  give(node: string, output: number, name: string, perm?: readonly number[]): void {
    const {values} = this.planner;
    const value = this.planner.valueOf(name);
    if (value !== undefined) {
      // A flow is held by another permutation under each of its names.
      const own = value.kind === 'flow' ? {...value} : value;
      values.set(`${node}:${output}`, own);
      if (perm !== undefined && !isIdentity(perm)) {
        this.perms.set(own, perm);
      }
    }
  }

  /** The cached result for a value, which is made if there is none. */
  async once(key: string, what: string, make: () => Promise<string>): Promise<string> {
    const name = this.made.get(`${key} ${what}`) ?? (await make());
    this.made.set(`${key} ${what}`, name);
    return name;
  }

  /** The use of a planned layer's quantized weight in the file; `undefined` for others. */
  productOf(weight: PlannedWeight): QuantizedProduct | undefined {
    const own = this.quantized.get(weight.source.node);
    const {node = '', index = 0} = own === undefined ? (this.originOf(weight) ?? {}) : {};
    const inputs = this.file.nodes.get(node)?.inputs;
    return own ?? (this.dequantized.has(inputs?.[index] ?? '') ? {nodes: [node], x: inputs?.[0] ?? ''} : undefined);
  }

  /**
   * The constant that an input of a node is, arranged for a layer, under a name of its own; `undefined` if it is none.
   * One tensor arranged in one way is made once, so that layers that share it stay tied.
   */
  weight(node: string, index: number, how: Arrangement = {}): string | undefined {
    const {planner, file} = this;
    const key = file.keys.get(file.nodes.get(node)?.inputs[index] ?? '') ?? '';
    const value = planner.valueOf(key);
    const dtype = file.tensors.get(key)?.dtype ?? (value?.kind === 'constant' ? value.tensor.dtype : undefined);
    if (value?.kind !== 'constant' || dtype !== 'float32') {
      return undefined;
    }
    const what = `${key} ${JSON.stringify(how)}`;
    const constant = this.arranged.get(what) ?? this.arrange(value, file.tensors.get(key), how);
    this.arranged.set(what, constant);
    const name = this.freshName(node);
    planner.values.set(`${name}:0`, constant);
    this.origins.set(name, {node, index, ...how});
    return name;
  }

  private arrange(value: Constant, stored: OnnxTensor | undefined, how: Arrangement): Constant {
    const {perm, ...rest} = how;
    if (Object.keys(rest).length === 0 && (perm === undefined || isIdentity(perm))) {
      return value;
    }
    // Straight from the file, so that the tensor as it is there is never made.
    const shape = stored?.shape ?? value.tensor.shape;
    return this.lazy(sizeOf(shape), () =>
      arranged({shape, data: (stored?.values() ?? value.tensor.dataSync()) as Float32Array}, how),
    );
  }

  /** A constant whose tensor is made when it is first needed. */
  lazy(
    size: number,
    make: () => {data: TensorData; shape: readonly number[]},
    dtype: tf.DataType = 'float32',
    tensorOf = () => {
      const {data, shape} = make();
      return tf.tensor(data, [...shape], dtype);
    },
  ): Constant {
    const {planner} = this;
    let tensor: tf.Tensor | undefined;
    return {
      kind: 'constant',
      ...(size <= FEW && {values: make().data}),
      get tensor() {
        return (tensor ??= planner.keep(tensorOf()));
      },
    };
  }

  /** The weight of a planned layer that is a constant of `weight`. Its tensor is made when the layer is built. */
  plannedWeight(name: string | undefined): PlannedWeight | undefined {
    const value = this.planner.valueOf(name);
    if (name === undefined || value?.kind !== 'constant') {
      return undefined;
    }
    const id = this.ids.get(value) ?? `constant ${this.count++}`;
    this.ids.set(value, id);
    const source = {node: name, index: 0};
    return {
      id,
      source,
      get tensor() {
        return value.tensor;
      },
    };
  }

  /** The tensor in the file for a weight of a planned layer; `undefined` if it was computed. */
  originOf({source: {node, index}}: PlannedWeight): WeightOrigin | undefined {
    const own: GraphNode | undefined = this.planner.graph.nodes.get(node);
    return this.origins.get(node) ?? this.origins.get(own?.input?.[index] ?? '');
  }
}

/** A tensor of a file as a layer holds it. */
export function arranged(values: Values, {part, shape, added, order, perm, to}: Arrangement): Values {
  const taken = part === undefined ? values : rowsOf(values, ...part);
  let result: Values = {data: taken.data, shape: shape ?? taken.shape};
  if (added === true) {
    const [one, other] = [rowsOf(result, 0, 1), rowsOf(result, 1, 1)];
    result = {data: one.data.map((value, i) => value + (other.data[i] ?? 0)), shape: result.shape.slice(1)};
  }
  if (order !== undefined) {
    result = ordered(result, order);
  }
  const transposed = perm === undefined ? result : transpose(result, perm);
  return {data: transposed.data, shape: to ?? transposed.shape};
}

/** Writes what a layer holds into a tensor of a file: the inverse of `arranged`. */
export function putBack(values: Values, held: Values, {part, shape, added, order, perm}: Arrangement): void {
  const row = sizeOf(values.shape.slice(1));
  const target = part === undefined ? values.data : values.data.subarray(part[0] * row, (part[0] + part[1]) * row);
  const own = shape ?? (part === undefined ? values.shape : [part[1], ...values.shape.slice(1)]);
  const inner = added === true ? own.slice(1) : own;
  let result: Values = {data: held.data, shape: perm?.map(axis => inner[axis] ?? 1) ?? inner};
  if (perm !== undefined) {
    result = transpose(result, inverseOf(perm));
  }
  if (order !== undefined) {
    result = ordered(result, inverseOf(order));
  }
  const half = target.length / 2;
  // If two parts are added, the second one stays.
  target.set(added === true ? result.data.map((value, i) => value - (target[half + i] ?? 0)) : result.data);
}

function rowsOf({shape, data}: Values, from: number, count: number): Values {
  const row = sizeOf(shape.slice(1));
  return {data: data.slice(from * row, (from + count) * row), shape: [count, ...shape.slice(1)]};
}

function ordered(values: Values, order: readonly number[]): Values {
  const data = new Float32Array(values.data.length);
  const row = data.length / order.length;
  order.forEach((from, i) => data.set(rowsOf(values, from, 1).data, i * row));
  return {shape: values.shape, data};
}

function inverseOf(perm: readonly number[]): number[] {
  return perm.map((_, axis) => perm.indexOf(axis));
}

export function range(count: number): number[] {
  return Array.from({length: count}, (_, i) => i);
}

export function isIdentity(perm: readonly number[]): boolean {
  return perm.every((axis, i) => axis === i);
}

/** The permutation by which a tensor with its channels first is held with its channels last. */
export function channelsLast(rank: number): number[] {
  return [0, ...range(rank).slice(2), ...(rank > 1 ? [1] : [])];
}

/** Attributes of nodes of TensorFlow's. */
export const attribute = {
  flag: (b: boolean): GraphAttribute => ({b}),
  number: (f: number): GraphAttribute => ({f}),
  int: (i: number): GraphAttribute => ({i: String(i)}),
  ints: (list: readonly number[]): GraphAttribute => ({list: {i: list.map(String)}}),
  text: (value: string): GraphAttribute => ({s: btoa(value)}),
  type: (type: 'DT_FLOAT' | 'DT_INT32' | 'DT_BOOL'): GraphAttribute => ({type}),
};
