import * as tf from '@tensorflow/tfjs';
import {sizeOf, transpose, type Values} from '../../../platform/formats/layout';
import {type GraphAttribute, type GraphNode, keyOf} from '../../graph/graphDef';
import type {Planner} from '../../graph/import/planner';
import {shapeOf} from '../../graph/import/rowRules';
import type {Constant, PlannedWeight, Value} from '../../graph/import/values';
import type {OnnxTensor, TensorData} from '../file/onnxTensor';
import type {OnnxNode} from '../file/readOnnx';

// A layout is the order of the axes in which the plan stores a tensor, for example channels last. `perm[i]` is the
// axis of the ONNX tensor that is stored at axis `i`. Values without an entry have the order of the file.

/** The operations of a file. */
export interface OnnxOperations {
  nodes: Map<string, OnnxNode>;
  /** ONNX value name → key in the plan. */
  keys: Map<string, string>;
  /** Key → initializer, or value of a `Constant` node. */
  tensors: ReadonlyMap<string, OnnxTensor>;
  /** Domain → opset version. */
  opsets: ReadonlyMap<string, number>;
}

/** The steps that turn a tensor of the file into the weight of a layer, in this order. */
export interface WeightLayout {
  /** The rows of the first axis to take. */
  rows?: readonly [from: number, size: number];
  shape?: readonly number[];
  /** Whether the two rows of the first axis are summed. */
  sumsHalves?: boolean;
  /** The new order of the rows of the first axis. */
  rowOrder?: readonly number[];
  perm?: readonly number[];
  /** The shape of the weight, if it differs from the permuted one. */
  finalShape?: readonly number[];
}

/** The tensor of the file that a weight of a layer comes from. */
export interface WeightOrigin extends WeightLayout {
  /** The node, and the index of its input. */
  node: string;
  index: number;
}

/** A quantized matrix product or convolution of the file. */
export interface QuantizedProduct {
  /** The nodes that compute it. The last one returns floats. */
  nodes: readonly string[];
  /** The name of the input: floats, or integers if `input` is set. */
  x: string;
  /** For an integer input or output: the names of its scale and, unless it is 0, its zero point. */
  input?: readonly string[];
  output?: readonly string[];
  /** The name of the bias that the last node adds. */
  bias?: string | undefined;
}

/** The plan reads the values of constants up to this size. */
const MAX_READ_VALUES = 4096;

/** The state that the nodes of a file share while it is planned. */
export class Lowering {
  /** Name of a constant that is the weight of a layer → its tensor in the file. */
  readonly origins = new Map<string, WeightOrigin>();
  /** Name of a dequantized constant → the product that uses it. */
  readonly quantized = new Map<string, QuantizedProduct>();
  /** Name of a float convolution that replaces an integer one → the one of the file, if it can be written back. */
  readonly convolutions = new Map<string, QuantizedProduct | undefined>();
  /** The names of constants that DequantizeLinear nodes return. */
  readonly dequantized = new Set<string>();
  /** Value → layout, unless it is the order of the file. */
  private readonly perms = new WeakMap<Value, readonly number[]>();
  /** Key and purpose → name of the node that was planned for it. */
  private readonly cachedResults = new Map<string, string>();
  private readonly arrangedWeights = new Map<string, Constant>();
  private readonly nodesWithLayer = new Set<string>();
  private readonly weightIds = new WeakMap<Constant, string>();
  private count = 0;

  constructor(
    readonly planner: Planner,
    readonly file: OnnxOperations,
  ) {}

  /** Adds an ONNX node that replaces one of the file. Its inputs are keys. */
  addNode(node: GraphNode, proto: OnnxNode): void {
    const {nodes, keys} = this.file;
    nodes.set(node.name, proto);
    proto.inputs.forEach(key => keys.set(key, key.includes(':') ? key : keyOf(key)));
    this.planner.addNode(node, this.layerName(node.name.replace(/#\d+$/, ''), undefined), 1);
  }

  /** An unused name for a node or a constant. */
  freshName(node: string): string {
    return `${node}#${this.count++}`;
  }

  /** The name of a layer. The first layer of a node takes the node's name; `suffix` distinguishes the others. */
  layerName(node: string, suffix: string | undefined): string {
    if (suffix !== undefined || this.nodesWithLayer.has(node)) {
      return this.planner.nameOf(node, suffix ?? 'more');
    }
    this.nodesWithLayer.add(node);
    return this.planner.nameOf(node);
  }

  rankOf(value: Value | undefined, key: string): number {
    const isStored = value === undefined || value.kind === 'constant';
    return ((isStored ? this.file.tensors.get(key)?.shape : undefined) ?? shapeOf(value)).length;
  }

  /** The layout of a value. */
  permOf(value: Value | undefined, rank: number): readonly number[] {
    return (value && this.perms.get(value)) ?? range(rank);
  }

  /** Sets an output of a node to the planned node `name`, which has the layout `perm`. */
  setOutput(node: string, output: number, name: string, perm?: readonly number[]): void {
    const {values} = this.planner;
    const value = this.planner.valueOf(name);
    if (value !== undefined) {
      // The same tensor can have one layout for each name, so each name gets an object.
      const separate = value.kind === 'flow' ? {...value} : value;
      values.set(`${node}:${output}`, separate);
      if (perm !== undefined && !isIdentity(perm)) {
        this.perms.set(separate, perm);
      }
    }
  }

  /** Plans a node that is derived from a value, once for each purpose. */
  async once(key: string, what: string, make: () => Promise<string>): Promise<string> {
    const name = this.cachedResults.get(`${key} ${what}`) ?? (await make());
    this.cachedResults.set(`${key} ${what}`, name);
    return name;
  }

  /** The quantized product that a layer's weight comes from; `undefined` for other weights. */
  productOf(weight: PlannedWeight): QuantizedProduct | undefined {
    const product = this.quantized.get(weight.source.node);
    const {node = '', index = 0} = product === undefined ? (this.originOf(weight) ?? {}) : {};
    const inputs = this.file.nodes.get(node)?.inputs;
    return product ?? (this.dequantized.has(inputs?.[index] ?? '') ? {nodes: [node], x: inputs?.[0] ?? ''} : undefined);
  }

  /**
   * The name of a constant input as the weight of a layer; `undefined` if the input is no constant of floats.
   * Equal requests share one tensor, so that tied layers stay tied.
   */
  weight(node: string, index: number, how: WeightLayout = {}): string | undefined {
    const {planner, file} = this;
    const key = file.keys.get(file.nodes.get(node)?.inputs[index] ?? '') ?? '';
    const value = planner.valueOf(key);
    const dtype = file.tensors.get(key)?.dtype ?? (value?.kind === 'constant' ? value.tensor.dtype : undefined);
    if (value?.kind !== 'constant' || dtype !== 'float32') {
      return undefined;
    }
    const what = `${key} ${JSON.stringify(how)}`;
    const constant = this.arrangedWeights.get(what) ?? this.applyLayout(value, file.tensors.get(key), how);
    this.arrangedWeights.set(what, constant);
    const name = this.freshName(node);
    planner.values.set(`${name}:0`, constant);
    this.origins.set(name, {node, index, ...how});
    return name;
  }

  private applyLayout(value: Constant, stored: OnnxTensor | undefined, how: WeightLayout): Constant {
    const {perm, ...otherSteps} = how;
    if (Object.keys(otherSteps).length === 0 && (perm === undefined || isIdentity(perm))) {
      return value;
    }
    // Reads the file directly, so that no tensor is made in the layout of the file.
    const shape = stored?.shape ?? value.tensor.shape;
    return this.lazy(sizeOf(shape), () =>
      toLayerLayout({shape, data: (stored?.values() ?? value.tensor.dataSync()) as Float32Array}, how),
    );
  }

  /** A constant whose tensor is made on first use. */
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
      ...(size <= MAX_READ_VALUES && {values: make().data}),
      get tensor() {
        return (tensor ??= planner.keep(tensorOf()));
      },
    };
  }

  /** The weight of a planned layer, by the name that `weight` returned. Its tensor is made when the layer is built. */
  plannedWeight(name: string | undefined): PlannedWeight | undefined {
    const value = this.planner.valueOf(name);
    if (name === undefined || value?.kind !== 'constant') {
      return undefined;
    }
    const id = this.weightIds.get(value) ?? `constant ${this.count++}`;
    this.weightIds.set(value, id);
    const source = {node: name, index: 0};
    return {
      id,
      source,
      get tensor() {
        return value.tensor;
      },
    };
  }

  /** The tensor of the file that a layer's weight comes from; `undefined` for a computed weight. */
  originOf({source: {node, index}}: PlannedWeight): WeightOrigin | undefined {
    const graphNode: GraphNode | undefined = this.planner.graph.nodes.get(node);
    return this.origins.get(node) ?? this.origins.get(graphNode?.input?.[index] ?? '');
  }
}

/** Turns a tensor of the file into the weight of a layer. */
export function toLayerLayout(
  values: Values,
  {rows, shape, sumsHalves, rowOrder, perm, finalShape}: WeightLayout,
): Values {
  const slice = rows === undefined ? values : sliceRows(values, ...rows);
  let result: Values = {data: slice.data, shape: shape ?? slice.shape};
  if (sumsHalves === true) {
    const [firstHalf, secondHalf] = [sliceRows(result, 0, 1), sliceRows(result, 1, 1)];
    result = {data: firstHalf.data.map((value, i) => value + (secondHalf.data[i] ?? 0)), shape: result.shape.slice(1)};
  }
  if (rowOrder !== undefined) {
    result = reorderedRows(result, rowOrder);
  }
  const transposed = perm === undefined ? result : transpose(result, perm);
  return {data: transposed.data, shape: finalShape ?? transposed.shape};
}

/** Writes the weight of a layer into a tensor of the file: the inverse of `toLayerLayout`. */
export function writeToFileLayout(
  values: Values,
  weight: Values,
  {rows, shape, sumsHalves, rowOrder, perm}: WeightLayout,
): void {
  const rowSize = sizeOf(values.shape.slice(1));
  const target =
    rows === undefined ? values.data : values.data.subarray(rows[0] * rowSize, (rows[0] + rows[1]) * rowSize);
  const fileShape = shape ?? (rows === undefined ? values.shape : [rows[1], ...values.shape.slice(1)]);
  const layerShape = sumsHalves === true ? fileShape.slice(1) : fileShape;
  let result: Values = {data: weight.data, shape: perm?.map(axis => layerShape[axis] ?? 1) ?? layerShape};
  if (perm !== undefined) {
    result = transpose(result, inverseOf(perm));
  }
  if (rowOrder !== undefined) {
    result = reorderedRows(result, inverseOf(rowOrder));
  }
  const half = target.length / 2;
  // Of two summed rows, the second keeps its values and the first takes the difference.
  target.set(sumsHalves === true ? result.data.map((value, i) => value - (target[half + i] ?? 0)) : result.data);
}

function sliceRows({shape, data}: Values, from: number, count: number): Values {
  const row = sizeOf(shape.slice(1));
  return {data: data.slice(from * row, (from + count) * row), shape: [count, ...shape.slice(1)]};
}

function reorderedRows(values: Values, order: readonly number[]): Values {
  const data = new Float32Array(values.data.length);
  const row = data.length / order.length;
  order.forEach((from, i) => data.set(sliceRows(values, from, 1).data, i * row));
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

/** The channels-last layout of a channels-first tensor. */
export function channelsLast(rank: number): number[] {
  return [0, ...range(rank).slice(2), ...(rank > 1 ? [1] : [])];
}

/** Writes attributes of TensorFlow nodes. */
export const attribute = {
  flag: (b: boolean): GraphAttribute => ({b}),
  number: (f: number): GraphAttribute => ({f}),
  int: (i: number): GraphAttribute => ({i: String(i)}),
  ints: (list: readonly number[]): GraphAttribute => ({list: {i: list.map(String)}}),
  text: (value: string): GraphAttribute => ({s: btoa(value)}),
  type: (type: 'DT_FLOAT' | 'DT_INT32' | 'DT_BOOL'): GraphAttribute => ({type}),
};
