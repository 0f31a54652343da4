import type * as tf from '@tensorflow/tfjs';
import {listed} from '../../../platform/errors';
import {type GraphAttribute, type GraphNode, keyOf} from '../../graph/graphDef';
import {KNOWN} from '../../graph/import/openSizes';
import {planComputed} from '../../graph/import/planGraph';
import {type Planner, Refusal} from '../../graph/import/planner';
import type {Flow, Value} from '../../graph/import/values';
import type {OnnxAttribute, OnnxNode} from '../file/readOnnx';
import {attribute, isIdentity, type Lowering, range} from './lowering';

/** A number of a list that a graph computes: known, or an entry of another list. */
export type Entry = number | {of: string; at: number};

/** Operations that only arrange what the others compute. Their layers do not take a node's own name. */
const ARRANGES = new Set('Transpose Reshape Shape StridedSlice ConcatV2 Fill ExpandDims Squeeze PadV2 Cast'.split(' '));

/** By operation: attributes that say what inputs and outputs say too, or that do not change what is supported. */
const HARMLESS: Readonly<Record<string, string>> = {
  // Of the opset and of com.microsoft. Those of caches, rotations and further outputs go with inputs that are refused.
  Attention:
    'q_num_heads kv_num_heads qk_matmul_output_mode softmax_precision mask_filter_value past_present_share_buffer ' +
    'rotary_embedding_dim',
  AveragePool: 'kernel_shape',
  BatchNormalization: 'momentum',
  Cast: 'saturate round_mode',
  Concat: 'axis',
  Conv: 'kernel_shape',
  ConvTranspose: 'kernel_shape',
  DequantizeLinear: 'axis output_dtype',
  Dropout: 'ratio seed',
  GRU: 'activation_alpha activation_beta',
  GroupNormalization: 'stash_type',
  GroupQueryAttention: 'kv_cache_bit_width qk_output',
  LSTM: 'activation_alpha activation_beta',
  LayerNormalization: 'stash_type',
  MatMulNBits: 'accuracy_level',
  MaxPool: 'storage_order',
  MultiHeadAttention: 'mask_filter_value',
  QuantizeLinear: 'axis block_size output_dtype precision saturate',
  RMSNormalization: 'stash_type',
  RNN: 'activation_alpha activation_beta',
  Resize: 'cubic_coeff_a extrapolation_value',
  RotaryEmbedding: 'rotary_embedding_dim',
  SimplifiedLayerNormalization: 'stash_type',
  Split: 'num_outputs',
  TopK: 'sorted',
};

/** A node of an ONNX file that is being planned. Inputs and outputs are counted from 0. */
export class OnnxCall {
  readonly planner: Planner;
  readonly proto: OnnxNode;
  readonly op: string;
  /** The version of the operations of its domain. */
  readonly version: number;
  /** The attributes that were looked for. */
  private readonly asked = new Set<string>();

  constructor(
    readonly low: Lowering,
    readonly node: GraphNode,
  ) {
    this.planner = low.planner;
    this.proto = low.file.nodes.get(node.name) as OnnxNode;
    this.op = this.proto.op;
    this.version = low.file.opsets.get(this.proto.domain) ?? 1;
  }

  /** The attributes that nothing has asked for, and that could change what the node computes. */
  get unknown(): string[] {
    const harmless = Object.hasOwn(HARMLESS, this.op) ? HARMLESS[this.op]?.split(' ') : [];
    return [...this.proto.attributes.keys()].filter(name => !this.asked.has(name) && harmless?.includes(name) !== true);
  }

  attribute(name: string): OnnxAttribute | undefined {
    this.asked.add(name);
    const found = this.proto.attributes.get(name);
    return found?.ref === undefined ? found : this.refuse('takes an attribute from a function around it');
  }

  /** All attributes, for a node in the place of this one, which looks for them. */
  attributes(): OnnxNode['attributes'] {
    const {attributes} = this.proto;
    attributes.forEach((_, name) => this.asked.add(name));
    return new Map(attributes);
  }

  int(name: string, fallback: number): number {
    return this.attribute(name)?.i ?? fallback;
  }

  float(name: string, fallback: number): number {
    return this.attribute(name)?.f ?? fallback;
  }

  text(name: string, fallback: string): string {
    return this.attribute(name)?.s ?? fallback;
  }

  ints(name: string): number[] | undefined {
    return this.attribute(name)?.ints;
  }

  /** @throws Refusal */
  refuse(reason: string): never {
    throw new Refusal(reason);
  }

  has(index: number): boolean {
    return (this.proto.inputs[index] ?? '') !== '';
  }

  /** The numbers below a count that a file chooses. @throws LoRAError if they are far more than those in it. */
  below(count: number): number[] {
    this.planner.reserve(count);
    return range(count);
  }

  /** How many inputs there are. */
  get count(): number {
    return this.proto.inputs.length;
  }

  /** The key of an input in the plan. */
  key(index: number): string {
    const name = this.proto.inputs[index] ?? '';
    return this.low.file.keys.get(name) ?? this.refuse(`lacks its input ${index}`);
  }

  value(index: number): Value {
    return this.planner.valueOf(this.key(index)) as Value;
  }

  rank(index = 0): number {
    return this.low.rankOf(this.value(index), this.key(index));
  }

  /** How an input is held. */
  perm(index = 0): readonly number[] {
    return this.low.permOf(this.value(index), this.rank(index));
  }

  dtype(index = 0): tf.DataType {
    return this.typeOf(this.key(index));
  }

  /** The type of what has been computed, or of an input. */
  typeOf(key: string): tf.DataType {
    const value = this.planner.valueOf(key);
    const stored = this.low.file.tensors.get(key)?.dtype;
    return value?.kind === 'flow'
      ? value.dtype
      : (stored ?? (value?.kind === 'shaped' ? value.pair[0] : value)?.tensor.dtype ?? 'float32');
  }

  /** An axis of an input, counted from 0. */
  axis(axis: number, rank = this.rank()): number {
    const at = axis < 0 ? axis + rank : axis;
    return at >= 0 && at < rank ? at : this.refuse(`names axis ${axis} of ${rank}`);
  }

  /** The numbers of an input that is a small constant. */
  numbers(index: number): number[] | undefined {
    return this.has(index) ? this.planner.numbers(this.key(index)) : undefined;
  }

  /** The single number of an input; `fallback` if it is left out. */
  number(index: number, fallback: number): number {
    return this.has(index) ? (this.numbers(index)?.[0] ?? this.refuse(`needs a constant input ${index}`)) : fallback;
  }

  /** Numbers that are an attribute in older versions, and an input in newer ones. */
  list(name: string, index: number): number[] | undefined {
    if (!this.has(index)) {
      return this.ints(name);
    }
    return this.numbers(index) ?? this.refuse(`needs constant ${name}`);
  }

  /** An input that is a tensor of floats of at least two axes, which layers of tfjs take. */
  floats(index = 0): Flow {
    return this.planner.floats(this.key(index)) ?? this.refuse('needs a tensor of floats that is not a constant');
  }

  /** The size of an axis of an input, `undefined` where it is open. */
  size(index: number, axis: number): number | undefined {
    const value = this.value(index);
    if (value.kind === 'shaped') {
      const [one, other] = value.pair.map(({tensor}) => tensor.shape[axis]);
      return one === other ? one : undefined;
    }
    if (value.kind === 'constant') {
      return this.low.file.tensors.get(this.key(index))?.shape[axis] ?? value.tensor.shape[axis];
    }
    const at = this.perm(index).indexOf(axis);
    return value.sizes[at] === KNOWN ? value.shapes[0][at] : undefined;
  }

  /** The shape of an input as the file has it, for one of the two sizes that a graph is planned for. */
  shapeAt(index: number, p: 0 | 1): number[] {
    const value = this.value(index);
    const held =
      value.kind === 'flow' ? value.shapes[p] : (value.kind === 'shaped' ? value.pair[p] : value).tensor.shape;
    const perm = this.perm(index);
    return held.map((_, axis) => held[perm.indexOf(axis)] ?? 1);
  }

  /** Whether a size is that of the batch that the file was made for, while any batch is being allowed. */
  isOwnBatch(axis: number, size: number | undefined): boolean {
    const value = this.value(0);
    return (
      this.planner.frees && axis === 0 && value.kind === 'flow' && value.shapes[0][this.perm().indexOf(0)] === size
    );
  }

  /** The size of an axis of an input as an entry. */
  async entry(index: number, axis: number): Promise<Entry> {
    const size = this.size(index, axis);
    if (size !== undefined) {
      return size;
    }
    const key = this.key(index);
    const of = await this.low.once(key, 'shape', () => this.emit('Shape', [key]));
    return {of, at: this.perm(index).indexOf(axis)};
  }

  /** How many axes there are of what has been computed as the file has it. */
  rankOf(key: string): number {
    return this.low.rankOf(this.planner.valueOf(key), key);
  }

  /** The size of an axis of what has been computed; `undefined` where it is open. */
  sizeOf(key: string, axis: number): number | undefined {
    const value = this.planner.valueOf(key);
    if (value?.kind === 'flow') {
      return value.sizes[axis] === KNOWN ? value.shapes[0][axis] : undefined;
    }
    const [one, other] = value?.kind === 'shaped' ? value.pair : [value, value];
    const size = this.low.file.tensors.get(key)?.shape[axis] ?? one?.tensor.shape[axis];
    return value?.kind === 'constant' || size === other?.tensor.shape[axis] ? size : undefined;
  }

  /** That size as an entry. */
  async entryOf(key: string, axis: number): Promise<Entry> {
    const size = this.sizeOf(key, axis);
    return size ?? {of: await this.low.once(key, 'shape', () => this.emit('Shape', [key])), at: axis};
  }

  /** A computed value in another shape. One unknown size stays dynamic. */
  async reshaped(key: string, entries: readonly Entry[]): Promise<string> {
    const open = entries.filter(entry => typeof entry !== 'number');
    const sizes = open.length === 1 ? entries.map(entry => (typeof entry === 'number' ? entry : -1)) : entries;
    return this.emit('Reshape', [key, await this.vector(sizes)]);
  }

  /** The numbers of an input of one axis, known or not. */
  entries(index: number): Entry[] {
    const known = this.numbers(index);
    const value = this.value(index);
    if (known !== undefined || value.kind !== 'shaped') {
      return known ?? this.refuse(`needs values of input ${index} that do not depend on the model's inputs`);
    }
    const [one, other] = value.pair;
    return range(
      one.tensor.size === other.tensor.size ? one.tensor.size : this.refuse('takes a list of unknown length'),
    ).map(at => (value.sizes[at] === KNOWN ? (one.values[at] ?? 0) : {of: this.key(index), at}));
  }

  /** A list of entries as a tensor of whole numbers. */
  async vector(entries: readonly Entry[]): Promise<string> {
    if (entries.every(entry => typeof entry === 'number')) {
      return this.constant(entries);
    }
    const parts: string[] = [];
    for (const entry of entries) {
      parts.push(
        typeof entry === 'number'
          ? this.constant([entry])
          : await this.emit('GatherV2', [entry.of, this.constant([entry.at]), this.constant([0], [])]),
      );
    }
    return parts.length === 1 ? (parts[0] as string) : this.emit('ConcatV2', [...parts, this.constant([0], [])]);
  }

  /** An input, held by a permutation. */
  as(index: number, perm: readonly number[]): Promise<string> {
    return this.held(this.key(index), perm);
  }

  /** An input as the file has it. */
  plain(index = 0): Promise<string> {
    return this.as(index, range(this.rank(index)));
  }

  /** A value, held by a permutation. */
  async held(key: string, perm: readonly number[]): Promise<string> {
    const value = this.planner.valueOf(key);
    const own = this.low.permOf(value, this.low.rankOf(value, key));
    const order = perm.map(axis => own.indexOf(axis));
    return isIdentity(order)
      ? key
      : this.low.once(key, perm.join(), () => this.emit('Transpose', [key, this.constant(order)]));
  }

  /** A constant of this node. */
  constant(
    values: readonly number[],
    shape: readonly number[] = [values.length],
    dtype: 'int32' | 'float32' = 'int32',
  ): string {
    const name = this.low.freshName(this.node.name);
    const data = dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values);
    this.planner.values.set(
      `${name}:0`,
      this.low.lazy(data.length, () => ({data, shape}), dtype),
    );
    return name;
  }

  scalar(value: number, dtype: 'int32' | 'float32' = 'float32'): string {
    return this.constant([value], [], dtype);
  }

  /** Plans a node of TensorFlow's, and gives its name. */
  async emit(
    op: string,
    input: readonly string[],
    attr: Record<string, GraphAttribute> = {},
    outputs = 1,
  ): Promise<string> {
    // tfjs concatenates as many as this says, and two where it says nothing.
    const own = op === 'ConcatV2' ? {...attr, N: attribute.int(input.length - 1)} : attr;
    const node = {name: this.low.freshName(this.node.name), op, input: [...input], attr: own};
    const part = ARRANGES.has(op) && op !== this.op ? op : undefined;
    this.planner.addNode(node, this.low.layerName(this.node.name, part), outputs);
    await planComputed(this.planner, node);
    return node.name;
  }

  /** Plans a layer, and gives its name. Weights are names of constants. */
  layer(
    className: string,
    config: tf.serialization.ConfigDict,
    inputs: readonly string[],
    weights: Record<string, string | undefined> = {},
    part?: string,
    outputs = 1,
  ): string {
    const {low, planner} = this;
    const node = {name: low.freshName(this.node.name), op: className, input: [...inputs]};
    planner.addNode(node, low.layerName(this.node.name, part), outputs);
    const planned = Object.entries(weights).map(([name, constant]) => [name, low.plannedWeight(constant)] as const);
    planner.addLayer(node, {className, config, inputs, weights: Object.fromEntries(planned)});
    return node.name;
  }

  /** Says what the first output of this node is, held by `perm`, and that of nodes whose work is done with it. */
  give(name: string, perm?: readonly number[], absorbed: readonly GraphNode[] = []): void {
    const {unknown} = this;
    if (unknown.length > 0) {
      this.refuse(`has ${listed(unknown)}, which is not supported`);
    }
    this.low.give(this.node.name, 0, name, perm);
    for (const each of absorbed) {
      this.low.give(each.name, 0, name, perm);
      this.planner.fates.set(each.name, 'merged');
    }
  }

  /** Holds outputs that are constants as the file has them: what reads constants knows no permutations. */
  async settle(): Promise<void> {
    for (const key of this.planner.keysOf(this.node)) {
      const value = this.planner.valueOf(key);
      const perm = this.low.permOf(value, this.low.rankOf(value, key));
      if (value !== undefined && value.kind !== 'flow' && !isIdentity(perm)) {
        const order = range(perm.length).map(axis => perm.indexOf(axis));
        this.planner.values.set(
          key,
          this.planner.valueOf(await this.emit('Transpose', [key, this.constant(order)])) as Value,
        );
      }
    }
  }

  /** The one node that uses what a node gives, if it is one of these operations. */
  follower(node: GraphNode, ...ops: readonly string[]): OnnxCall | undefined {
    const next = this.planner.follower(node);
    const isOf = next !== undefined && ops.includes(next.op) && this.low.file.nodes.get(next.name)?.domain === '';
    return isOf ? new OnnxCall(this.low, next) : undefined;
  }

  /** Which input of this node another node's first output is; -1 if none. */
  placeOf({name}: GraphNode): number {
    return this.proto.inputs.findIndex(input => this.low.file.keys.get(input) === keyOf(name));
  }
}

export {attribute};
