import type * as tf from '@tensorflow/tfjs';
import {listed} from '../../../platform/errors';
import {type GraphAttribute, type GraphNode, keyOf} from '../../graph/graphDef';
import {KNOWN} from '../../graph/import/openSizes';
import {planComputed} from '../../graph/import/planGraph';
import {type Planner, Refusal} from '../../graph/import/planner';
import {constantAt, type Flow, type Value} from '../../graph/import/values';
import type {OnnxAttribute, OnnxNode} from '../file/readOnnx';
import {isImplied} from './impliedAttributes';
import {attribute, isIdentity, type Lowering, range} from './lowering';

/** A number of a shape or another list: a constant, or element `at` of the list with the key `of`. */
export type ShapeEntry = number | {of: string; at: number};

/** Operations that only rearrange values. Their layers leave the node's name to the layer that computes. */
const REARRANGING = new Set(
  'Transpose Reshape Shape StridedSlice ConcatV2 Fill ExpandDims Squeeze PadV2 Cast'.split(' '),
);

/** A node of an ONNX file that is being planned. Input and output indices start at 0. */
export class OnnxCall {
  readonly planner: Planner;
  readonly proto: OnnxNode;
  readonly op: string;
  /** The opset version of the node's domain. */
  readonly version: number;
  /** The attributes that the rule has read. */
  private readonly readAttributes = new Set<string>();

  constructor(
    readonly lowering: Lowering,
    readonly node: GraphNode,
  ) {
    this.planner = lowering.planner;
    this.proto = lowering.file.nodes.get(node.name) as OnnxNode;
    this.op = this.proto.op;
    this.version = lowering.file.opsets.get(this.proto.domain) ?? 1;
  }

  /** The attributes that the rule has not read, although they could change the result. */
  get unreadAttributes(): string[] {
    return [...this.proto.attributes.keys()].filter(
      name => !this.readAttributes.has(name) && !isImplied(this.op, name),
    );
  }

  attribute(name: string): OnnxAttribute | undefined {
    this.readAttributes.add(name);
    const value = this.proto.attributes.get(name);
    return value?.ref === undefined ? value : this.refuse('The node takes an attribute from a function around it.');
  }

  /** All attributes, for a node that replaces this one and reads them itself. */
  attributes(): OnnxNode['attributes'] {
    const {attributes} = this.proto;
    attributes.forEach((_, name) => this.readAttributes.add(name));
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

  /** The indices below a count from the file. @throws LoRAError if the count is far larger than the file. */
  indicesBelow(count: number): number[] {
    this.planner.reserve(count);
    return range(count);
  }

  /** The number of inputs. */
  get count(): number {
    return this.proto.inputs.length;
  }

  /** The key of an input in the plan, in its present layout. */
  key(index: number): string {
    const name = this.proto.inputs[index] ?? '';
    return this.lowering.file.keys.get(name) ?? this.refuse(`The node lacks its input ${index}.`);
  }

  value(index: number): Value {
    return this.planner.valueOf(this.key(index)) as Value;
  }

  rank(index = 0): number {
    return this.lowering.rankOf(this.value(index), this.key(index));
  }

  /** The layout of an input. */
  perm(index = 0): readonly number[] {
    return this.lowering.permOf(this.value(index), this.rank(index));
  }

  dtype(index = 0): tf.DataType {
    return this.typeOf(this.key(index));
  }

  /** The type of a value. */
  typeOf(key: string): tf.DataType {
    const value = this.planner.valueOf(key);
    const stored = this.lowering.file.tensors.get(key)?.dtype;
    return value?.kind === 'flow' ? value.dtype : (stored ?? (value && constantAt(value).tensor.dtype) ?? 'float32');
  }

  /** Resolves an axis that may count from the end. */
  axis(axis: number, rank = this.rank()): number {
    const at = axis < 0 ? axis + rank : axis;
    return at >= 0 && at < rank ? at : this.refuse(`The node names axis ${axis} of ${rank}.`);
  }

  /** The values of an input that is a small constant. */
  numbers(index: number): number[] | undefined {
    return this.has(index) ? this.planner.numbers(this.key(index)) : undefined;
  }

  /** The value of a constant scalar input; `fallback` if the input is missing. */
  number(index: number, fallback: number): number {
    return this.has(index)
      ? (this.numbers(index)?.[0] ?? this.refuse(`The node needs a constant input ${index}.`))
      : fallback;
  }

  /** A list that is an attribute in older opsets and an input in newer ones. */
  list(name: string, index: number): number[] | undefined {
    if (!this.has(index)) {
      return this.ints(name);
    }
    return this.numbers(index) ?? this.refuse(`The node needs constant ${name}.`);
  }

  /** An input that a tfjs layer can take: floats, computed, of at least two axes. */
  floats(index = 0): Flow {
    return (
      this.planner.floats(this.key(index)) ?? this.refuse('The node needs a tensor of floats that is not a constant.')
    );
  }

  /** The size of an axis of an input; `undefined` if it is dynamic. */
  size(index: number, axis: number): number | undefined {
    const value = this.value(index);
    if (value.kind === 'shaped') {
      const [one, other] = value.pair.map(({tensor}) => tensor.shape[axis]);
      return one === other ? one : undefined;
    }
    if (value.kind === 'constant') {
      return this.lowering.file.tensors.get(this.key(index))?.shape[axis] ?? value.tensor.shape[axis];
    }
    const at = this.perm(index).indexOf(axis);
    return value.sizes[at] === KNOWN ? value.shapes[0][at] : undefined;
  }

  /** The shape of an input in the order of the file, for one of the two trial sizes. */
  shapeAt(index: number, p: 0 | 1): number[] {
    const value = this.value(index);
    const storedShape = value.kind === 'flow' ? value.shapes[p] : constantAt(value, p).tensor.shape;
    const perm = this.perm(index);
    return storedShape.map((_, axis) => storedShape[perm.indexOf(axis)] ?? 1);
  }

  /** Whether a size is the batch size that the file was exported with, while the plan makes the batch dynamic. */
  isExportedBatch(axis: number, size: number | undefined): boolean {
    const value = this.value(0);
    return (
      this.planner.freesBatch && axis === 0 && value.kind === 'flow' && value.shapes[0][this.perm().indexOf(0)] === size
    );
  }

  /** The size of an axis of an input, computed if it is dynamic. */
  async sizeEntry(index: number, axis: number): Promise<ShapeEntry> {
    const size = this.size(index, axis);
    if (size !== undefined) {
      return size;
    }
    const key = this.key(index);
    const of = await this.lowering.once(key, 'shape', () => this.emit('Shape', [key]));
    return {of, at: this.perm(index).indexOf(axis)};
  }

  /** The sizes of axes of the first input, computed if they are dynamic. */
  async sizeEntries(axes: readonly number[]): Promise<ShapeEntry[]> {
    const entries: ShapeEntry[] = [];
    for (const axis of axes) {
      entries.push(await this.sizeEntry(0, axis));
    }
    return entries;
  }

  /** The constant with the bias at an index; `undefined` without a bias. */
  bias(index: number): string | undefined {
    return this.has(index)
      ? (this.lowering.weight(this.node.name, index) ?? this.refuse('The node needs a constant bias.'))
      : undefined;
  }

  /** The rank of a value. */
  rankOf(key: string): number {
    return this.lowering.rankOf(this.planner.valueOf(key), key);
  }

  /** The size of an axis of a value as it is stored; `undefined` if it is dynamic. */
  sizeOf(key: string, axis: number): number | undefined {
    const value = this.planner.valueOf(key);
    if (value?.kind === 'flow') {
      return value.sizes[axis] === KNOWN ? value.shapes[0][axis] : undefined;
    }
    const [one, other] = value?.kind === 'shaped' ? value.pair : [value, value];
    const size = this.lowering.file.tensors.get(key)?.shape[axis] ?? one?.tensor.shape[axis];
    return value?.kind === 'constant' || size === other?.tensor.shape[axis] ? size : undefined;
  }

  /** The size of an axis of a value as it is stored, computed if it is dynamic. */
  async sizeEntryOf(key: string, axis: number): Promise<ShapeEntry> {
    const size = this.sizeOf(key, axis);
    return size ?? {of: await this.lowering.once(key, 'shape', () => this.emit('Shape', [key])), at: axis};
  }

  /** Reshapes a value. One dynamic size is written as -1. */
  async reshaped(key: string, listEntries: readonly ShapeEntry[]): Promise<string> {
    const open = listEntries.filter(entry => typeof entry !== 'number');
    const sizes = open.length === 1 ? listEntries.map(entry => (typeof entry === 'number' ? entry : -1)) : listEntries;
    return this.emit('Reshape', [key, await this.vector(sizes)]);
  }

  /** The elements of a list input. */
  entries(index: number): ShapeEntry[] {
    const constants = this.numbers(index);
    const value = this.value(index);
    if (constants !== undefined || value.kind !== 'shaped') {
      return (
        constants ?? this.refuse(`The node needs values of input ${index} that do not depend on the model's inputs.`)
      );
    }
    const [one, other] = value.pair;
    return range(
      one.tensor.size === other.tensor.size ? one.tensor.size : this.refuse('The node takes a list of unknown length.'),
    ).map(at => (value.sizes[at] === KNOWN ? (one.values[at] ?? 0) : {of: this.key(index), at}));
  }

  /** A list of entries as a tensor of int32. */
  async vector(entries: readonly ShapeEntry[]): Promise<string> {
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

  /** An input in the layout `perm`. */
  inputIn(index: number, perm: readonly number[]): Promise<string> {
    return this.permuted(this.key(index), perm);
  }

  /** An input in the order of the file. */
  input(index = 0): Promise<string> {
    return this.inputIn(index, range(this.rank(index)));
  }

  /** A value in the layout `perm`. */
  async permuted(key: string, perm: readonly number[]): Promise<string> {
    const value = this.planner.valueOf(key);
    const current = this.lowering.permOf(value, this.lowering.rankOf(value, key));
    const order = perm.map(axis => current.indexOf(axis));
    return isIdentity(order)
      ? key
      : this.lowering.once(key, perm.join(), () => this.emit('Transpose', [key, this.constant(order)]));
  }

  /** Adds a constant to the plan, and returns its name. */
  constant(
    values: readonly number[],
    shape: readonly number[] = [values.length],
    dtype: 'int32' | 'float32' = 'int32',
  ): string {
    const name = this.lowering.freshName(this.node.name);
    const data = dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values);
    this.planner.values.set(
      `${name}:0`,
      this.lowering.lazy(data.length, () => ({data, shape}), dtype),
    );
    return name;
  }

  scalar(value: number, dtype: 'int32' | 'float32' = 'float32'): string {
    return this.constant([value], [], dtype);
  }

  /** Plans a TensorFlow node, and returns its name. */
  async emit(
    op: string,
    input: readonly string[],
    attr: Record<string, GraphAttribute> = {},
    outputs = 1,
  ): Promise<string> {
    // tfjs concatenates N tensors, and two if N is missing.
    const attributes = op === 'ConcatV2' ? {...attr, N: attribute.int(input.length - 1)} : attr;
    const node = {name: this.lowering.freshName(this.node.name), op, input: [...input], attr: attributes};
    const suffix = REARRANGING.has(op) && op !== this.op ? op : undefined;
    this.planner.addNode(node, this.lowering.layerName(this.node.name, suffix), outputs);
    await planComputed(this.planner, node);
    return node.name;
  }

  /** Plans a layer, and returns its name. Weights are names of constants. */
  layer(
    className: string,
    config: tf.serialization.ConfigDict,
    inputs: readonly string[],
    weights: Record<string, string | undefined> = {},
    suffix?: string,
    outputs = 1,
  ): string {
    const {lowering: low, planner} = this;
    const node = {name: low.freshName(this.node.name), op: className, input: [...inputs]};
    planner.addNode(node, low.layerName(this.node.name, suffix), outputs);
    const planned = Object.entries(weights).map(([name, constant]) => [name, low.plannedWeight(constant)] as const);
    planner.addLayer(node, {className, config, inputs, weights: Object.fromEntries(planned)});
    return node.name;
  }

  /** Sets the first output of this node, and of `absorbed` nodes that are fused with it, to a planned node. */
  setOutput(name: string, perm?: readonly number[], absorbed: readonly GraphNode[] = []): void {
    const {unreadAttributes} = this;
    if (unreadAttributes.length > 0) {
      this.refuse(`The node has ${listed(unreadAttributes)}, which is not supported.`);
    }
    this.lowering.setOutput(this.node.name, 0, name, perm);
    for (const node of absorbed) {
      this.lowering.setOutput(node.name, 0, name, perm);
      this.planner.fates.set(node.name, 'merged');
    }
  }

  /** Returns constant outputs to the order of the file, because readers of constants ignore layouts. */
  async restoreConstantOrder(): Promise<void> {
    for (const key of this.planner.keysOf(this.node)) {
      const value = this.planner.valueOf(key);
      const perm = this.lowering.permOf(value, this.lowering.rankOf(value, key));
      if (value !== undefined && value.kind !== 'flow' && !isIdentity(perm)) {
        const order = range(perm.length).map(axis => perm.indexOf(axis));
        this.planner.values.set(
          key,
          this.planner.valueOf(await this.emit('Transpose', [key, this.constant(order)])) as Value,
        );
      }
    }
  }

  /** The only consumer of a node's output, if it is one of these operations. */
  follower(node: GraphNode, ...ops: readonly string[]): OnnxCall | undefined {
    const next = this.planner.follower(node);
    const isOf = next !== undefined && ops.includes(next.op) && this.lowering.file.nodes.get(next.name)?.domain === '';
    return isOf ? new OnnxCall(this.lowering, next) : undefined;
  }

  /** The index of the input that is another node's first output; -1 if none is. */
  inputIndexOf({name}: GraphNode): number {
    return this.proto.inputs.findIndex(input => this.lowering.file.keys.get(input) === keyOf(name));
  }
}

export {attribute};
