import * as tf from '@tensorflow/tfjs';
import {sizeOf, transpose} from '../../../platform/formats/layout';
import type {GraphAttribute, GraphNode} from '../../graph/graphDef';
import type {Planner} from '../../graph/import/planner';
import type {Constant, PlannedWeight, Value} from '../../graph/import/values';
import type {OnnxTensor} from '../file/onnxTensor';
import type {OnnxNode} from '../file/readOnnx';

/** The operations of a file, as nodes that a planner knows by name. */
export interface OnnxOperations {
  nodes: ReadonlyMap<string, OnnxNode>;
  /** By the name of a value: the key that it has in the plan. */
  keys: ReadonlyMap<string, string>;
  /** By key: initializers, and the values of `Constant` nodes. */
  tensors: ReadonlyMap<string, OnnxTensor>;
  /** By domain: the version of its operations. */
  opsets: ReadonlyMap<string, number>;
}

/** How a layer holds a tensor of a file: shaped, then transposed. */
export interface Arrangement {
  shape?: readonly number[];
  perm?: readonly number[];
  /** Of the first axis, before all else: where the part begins that is meant, and its size. */
  part?: readonly [from: number, size: number];
}

/** What a weight of a layer is in the file. */
export interface WeightOrigin extends Arrangement {
  /** A node, and which of its inputs. */
  node: string;
  index: number;
}

/** Constants of no more values than this are read by the plan. */
const FEW = 4096;

/** What is shared by the nodes of a file while it is planned. */
export class Lowering {
  /** By the names of constants that layers are given as weights. */
  readonly origins = new Map<string, WeightOrigin>();
  /** How values are held: the axis of the value that each axis of its tensor is. In order, if it is not here. */
  private readonly perms = new WeakMap<Value, readonly number[]>();
  /** By a key and what was made of it: the name of the result. */
  private readonly made = new Map<string, string>();
  private readonly arranged = new Map<string, Constant>();
  private readonly named = new Set<string>();
  private count = 0;

  constructor(
    readonly planner: Planner,
    readonly file: OnnxOperations,
  ) {}

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

  /** What has been made of a value before, or is made now. */
  async once(key: string, what: string, make: () => Promise<string>): Promise<string> {
    const name = this.made.get(`${key} ${what}`) ?? (await make());
    this.made.set(`${key} ${what}`, name);
    return name;
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
    const {part, shape, perm} = how;
    if (part === undefined && shape === undefined && (perm === undefined || isIdentity(perm))) {
      return value;
    }
    // Straight from the file, so that the tensor as it is there is never made.
    const own = stored?.shape ?? value.tensor.shape;
    const row = sizeOf(own.slice(1));
    return this.lazy(sizeOf(own), () => {
      const values = (stored?.values() ?? value.tensor.dataSync()) as Float32Array;
      const data = part === undefined ? values : values.slice(part[0] * row, (part[0] + part[1]) * row);
      const shaped = {data, shape: shape ?? (part === undefined ? own : [part[1], ...own.slice(1)])};
      return perm === undefined ? shaped : transpose(shaped, perm);
    });
  }

  /** A constant whose tensor is made when it is first needed. */
  lazy(
    size: number,
    make: () => {data: Float32Array | Int32Array | Uint8Array; shape: readonly number[]},
    dtype: tf.DataType = 'float32',
  ): Constant {
    const {planner} = this;
    let tensor: tf.Tensor | undefined;
    return {
      kind: 'constant',
      ...(size <= FEW && {values: make().data}),
      get tensor() {
        if (tensor === undefined) {
          const {data, shape} = make();
          tensor = planner.keep(tf.tensor(data, [...shape], dtype));
        }
        return tensor;
      },
    };
  }

  /** The weight of a planned layer that is a constant of `weight`. */
  plannedWeight(name: string | undefined): PlannedWeight | undefined {
    const tensor = this.planner.constant(name);
    return tensor && name !== undefined ? {tensor, source: {node: name, index: 0}} : undefined;
  }

  /** What a weight of a planned layer is in the file; `undefined` if it was computed. */
  originOf({source: {node, index}}: PlannedWeight): WeightOrigin | undefined {
    const own: GraphNode | undefined = this.planner.graph.nodes.get(node);
    return this.origins.get(node) ?? this.origins.get(own?.input?.[index] ?? '');
  }
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
