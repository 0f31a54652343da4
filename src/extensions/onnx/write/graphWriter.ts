import * as tf from '@tensorflow/tfjs';
import {checkNumbers, type FiniteOptions, type FloatType, writeNumbers} from '../../../platform/formats/numbers';
import {sizeOf, transpose, type Values} from '../../../platform/formats/layout';
import {channelsLast, isIdentity, range} from '../lower/lowering';
import type {Part} from '../file/protobuf';
import {type Attributes, Body, Fraction, type NewNode, TYPE, typeOf} from './messages';

/** The type of a tensor of tfjs. */
export function typeNumberOf(dtype: string | undefined): number {
  return dtype === 'int32' ? TYPE.int32 : dtype === 'bool' ? TYPE.bool : TYPE.float;
}

/**
 * A tensor of a model. It has a name, with its axes in some order, and gets other orders when they are needed.
 * Elementwise layers accept any order.
 */
export class Tensor {
  /** Order of axes → name of the value with that order. The first one is the order in which it was computed. */
  readonly held = new Map<string, string>();

  constructor(
    readonly shape: tf.Shape,
    readonly type: number,
    name: string,
    readonly order: readonly number[] = range(shape.length),
  ) {
    this.held.set(order.join(), name);
  }

  /** The name of what was computed, whose axes are in `order`. */
  get name(): string {
    return this.held.get(this.order.join()) as string;
  }

  get rank(): number {
    return this.shape.length;
  }
}

/** The contents of an initializer. */
interface NewInitializer {
  name: string;
  type: number;
  shape: readonly number[];
  /** Its bytes, or how to make them when they are written. */
  data: Part | {sources: readonly Source[]; arrange: (parts: Values[]) => Values};
}

/** A weight of a layer. Reading one may make a new tensor. */
export type Source = Pick<tf.LayerVariable, 'shape' | 'read'>;

/**
 * Collects the nodes and initializers of a graph. The name of each node consists of the layer's name and a unique part.
 */
export class GraphWriter {
  nodes: NewNode[] = [];
  readonly initializers: NewInitializer[] = [];
  /** Whether windows are padded by a rule, not by numbers. */
  readonly namesPadding: boolean = false;
  /** Whether recurrent layers are written once for each step, since the format has no operation for them. */
  readonly unrollsSteps: boolean = false;
  /** The first axis of images as the format has them. */
  readonly firstSpace: number = 2;
  /** A line for each thing that cannot be written. */
  readonly faults = new Set<string>();
  /** The layer that is being written, as names and messages have it. */
  layer = '';
  /** Its inputs, and the shape of its first output. */
  protected inputs: readonly Tensor[] = [];
  shape: tf.Shape = [];
  private readonly made = new Map<string, string>();
  private readonly numbers = new Map<object, number>();

  /**
   * @param opset the version of operations.
   * @param taken names that the file has already.
   * @param halves whether weights are stored in 16 bits.
   */
  constructor(
    readonly opset: number,
    private readonly taken: Set<string> = new Set(),
    private readonly halves = false,
  ) {}

  /** Begins a call of a layer. */
  begin(layer: string, inputs: readonly Tensor[], [shape = []]: readonly tf.Shape[]): void {
    this.layer = layer;
    this.inputs = inputs;
    this.shape = shape;
  }

  /** Says why the layer cannot be written, in whole sentences. */
  refuse(reason: string): void {
    this.faults.add(`Layer "${this.layer}": ${reason}`);
  }

  freeName(wanted: string): string {
    let name = wanted;
    for (let copy = 1; this.taken.has(name); copy++) {
      name = `${wanted}_${copy}`;
    }
    this.taken.add(name);
    return name;
  }

  /** Adds a node with one output, and returns its name. */
  node(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.nodeOf(op, inputs, attributes, 1)[0] as string;
  }

  /** Adds a node with several outputs, and returns their names. */
  nodeOf(op: string, inputs: readonly string[], attributes: Attributes, outputs: number): string[] {
    const name = this.freeName(`${this.layer}/${typeOf(op).type}`);
    const names = [name, ...range(outputs - 1).map(i => this.freeName(`${name}:${i + 1}`))];
    // Newer versions require the number of parts if their sizes are not given.
    const parts = op === 'Split' && inputs.length === 1 && this.opset >= 18 ? {num_outputs: outputs} : {};
    this.nodes.push({op, name, inputs, outputs: names, attributes: {...attributes, ...parts}});
    return names;
  }

  /** A subgraph with this many inputs, whose outputs a function returns. */
  body(count: number, make: (inputs: string[]) => string[]): Body {
    const inputs = range(count).map(() => this.freeName(`${this.layer}/input`));
    const body = new Body(inputs);
    const outside = this.nodes;
    this.nodes = body.nodes;
    body.outputs = make(inputs);
    this.nodes = outside;
    return body;
  }

  /** The cached result for a key, which is made if there is none. */
  once(key: string, make: () => string): string {
    const name = this.made.get(key) ?? make();
    this.made.set(key, name);
    return name;
  }

  /** Weights of a layer as an initializer, once for each of its parts. */
  weights(
    weightName: string,
    sources: readonly Source[],
    shape: readonly number[],
    arrange: (parts: Values[]) => Values,
  ): string {
    return this.once(`${sources.map(source => this.numberOf(source)).join()} ${weightName} ${shape.join()}`, () => {
      const name = this.freeName(`${this.layer}/${weightName}`);
      if (!this.halves || sizeOf(shape) < 64) {
        this.initializers.push({name, type: TYPE.float, shape, data: {sources, arrange}});
        return name;
      }
      const stored = this.freeName(`${name}/float16`);
      this.initializers.push({name: stored, type: TYPE.float16, shape, data: {sources, arrange}});
      this.nodes.push({op: 'Cast', name, inputs: [stored], outputs: [name], attributes: {to: TYPE.float}});
      return name;
    });
  }

  /** A weight as an initializer, with its axes in another order, and then in another shape. */
  weight(
    weightName: string,
    source: Source,
    {perm, shape}: {perm?: readonly number[]; shape?: readonly number[]} = {},
  ): string {
    const sourceShape = source.shape as number[];
    const turned = perm === undefined || isIdentity(perm) ? sourceShape : perm.map(axis => sourceShape[axis] ?? 1);
    return this.weights(
      perm === undefined ? weightName : `${weightName}/${perm.join('')}`,
      [source],
      shape ?? turned,
      ([values]) => (turned === sourceShape ? (values as Values) : transpose(values as Values, perm as number[])),
    );
  }

  /** The order of axes in which the format has images, given the axis of their channels. */
  imageOrder(rank: number, channel: number): number[] {
    return [0, channel, ...range(rank).filter(axis => axis !== 0 && axis !== channel)];
  }

  /** The kernel of a convolution, arranged as the format has it. */
  filter(weightName: string, source: Source, how: {perm: readonly number[]; shape?: readonly number[]}): string {
    return this.weight(weightName, source, how);
  }

  private numberOf(source: object): number {
    const number = this.numbers.get(source) ?? this.numbers.size;
    this.numbers.set(source, number);
    return number;
  }

  /** Numbers that are part of the graph. */
  floats(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.once(`floats ${values.join()} ${shape.join()}`, () =>
      this.constant(TYPE.float, shape, new Uint8Array(Float32Array.from(values).buffer)),
    );
  }

  float(value: number): string {
    return this.floats([value], []);
  }

  ints(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.once(`ints ${values.join()} ${shape.join()}`, () =>
      this.constant(TYPE.int64, shape, new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer)),
    );
  }

  /** Values as the file has them. */
  constant(
    type: number,
    shape: readonly number[],
    data: Part,
    wanted = `constant_${this.initializers.length}`,
  ): string {
    const name = this.freeName(wanted);
    this.initializers.push({name, type, shape, data});
    return name;
  }

  /** The name of a tensor as its model has it. */
  plain(tensor: Tensor): string {
    return this.held(tensor, range(tensor.rank));
  }

  /** The name of a tensor with its channels, which are its last axis, before its image. */
  channelsFirst(tensor: Tensor): string {
    return this.held(tensor, channelsFirst(tensor.rank));
  }

  /** A tensor that is held as its model has it. */
  asPlain(tensor: Tensor): Tensor {
    return new Tensor(tensor.shape, tensor.type, this.plain(tensor));
  }

  /** The name of a tensor with its axes in an order. */
  held(tensor: Tensor, order: readonly number[]): string {
    const transposedName = tensor.held.get(order.join());
    if (transposedName !== undefined) {
      return transposedName;
    }
    const perm = order.map(axis => tensor.order.indexOf(axis));
    const turned = this.node('Transpose', [tensor.name], {perm});
    tensor.held.set(order.join(), turned);
    return turned;
  }

  /** The result of an elementwise operation, with the axes of the tensor in their current order. */
  elementwise(tensor: Tensor, make: (name: string) => string): Tensor {
    return new Tensor(tensor.shape, TYPE.float, make(tensor.name), tensor.order);
  }

  /** Adds axes of size 1. */
  unsqueeze(name: string, axes: readonly number[]): string {
    return this.onAxes('Unsqueeze', name, axes, 13);
  }

  /** Takes axes of size 1 away. */
  squeeze(name: string, axes: readonly number[]): string {
    return this.onAxes('Squeeze', name, axes, 13);
  }

  /** Reduces axes: `op` is that of ONNX. */
  reduce(op: string, name: string, axes: readonly number[], keep = false): string {
    return this.onAxes(op, name, axes, op === 'ReduceSum' ? 13 : 18, {keepdims: Number(keep)});
  }

  /** Axes are an attribute of older versions, and an input of newer ones. */
  private onAxes(op: string, name: string, axes: readonly number[], since: number, more: Attributes = {}): string {
    return this.opset < since ? this.node(op, [name], {...more, axes}) : this.node(op, [name, this.ints(axes)], more);
  }

  reshape(name: string, shape: readonly number[]): string {
    return this.node('Reshape', [name, this.ints(shape)]);
  }

  /** Values cut to a range. */
  clip(name: string, low: number, high: number): string {
    return this.opset < 11
      ? this.node('Clip', [name], {min: new Fraction(low), max: new Fraction(high)})
      : this.node('Clip', [name, this.float(low), this.float(high)]);
  }

  cast(name: string, to: number): string {
    return this.node('Cast', [name], {to});
  }

  /** A part of an axis. */
  slice(name: string, axis: number, from: number, to: number, step = 1): string {
    const list = (value: number) => this.ints([value]);
    return this.node('Slice', [name, list(from), list(to), list(axis), ...(step === 1 ? [] : [list(step)])]);
  }

  /** The size of an axis, as a list of one number. */
  sizeOf(name: string, axis: number): string {
    return this.once(`size ${name} ${axis}`, () =>
      this.slice(
        this.once(`shape ${name}`, () => this.node('Shape', [name])),
        0,
        axis,
        axis + 1,
      ),
    );
  }

  /** 0, 1, … for a size that is a list of one number. */
  positions(size: string): string {
    return this.once(`positions ${size}`, () =>
      this.node('Range', [this.ints([0], []), this.squeeze(size, [0]), this.ints([1], [])]),
    );
  }

  /** 1 for positions that a mask shows, and 0 elsewhere. */
  shown(mask: Tensor): string {
    const x = this.plain(mask);
    return this.once(`shown ${x}`, () => this.cast(this.cast(x, TYPE.bool), TYPE.float));
  }

  /** Gives a value another name, wherever it is used. */
  rename(from: string, to: string): void {
    const renamed = (name: string) => (name === from ? to : name);
    const visit = (nodes: readonly NewNode[]): void => {
      for (const node of nodes) {
        node.inputs = node.inputs.map(renamed);
        node.outputs = node.outputs.map(renamed);
        Object.values(node.attributes).forEach(value => value instanceof Body && visit(value.nodes));
      }
    };
    visit(this.nodes);
  }

  /** The initializers. Reading one throws a LoRAError if a value is not finite, or too large for the type. */
  tensors(finite: FiniteOptions): {name: string; type: number; shape: readonly number[]; bytes: Part}[] {
    return this.initializers.map(({name, type, shape, data}) => {
      const length = sizeOf(shape) * (type === TYPE.float16 ? 2 : 4);
      const bytes = 'sources' in data ? {length, read: () => encodedBytes(name, type, data, finite)} : data;
      return {name, type, shape, bytes};
    });
  }
}

/** The order of axes that has the channels, the last axis, before the image. */
export function channelsFirst(rank: number): number[] {
  const order = channelsLast(rank);
  return order.map((_, axis) => order.indexOf(axis));
}

async function encodedBytes(
  name: string,
  type: number,
  {sources, arrange}: Exclude<NewInitializer['data'], Part>,
  finite: FiniteOptions,
): Promise<Uint8Array> {
  const parts: Values[] = [];
  for (const source of sources) {
    // Reading blocks of few bits makes a tensor, and reading a variable does not.
    const copy = tf.tidy(() => tf.clone(source.read()));
    parts.push({shape: copy.shape, data: await copy.data<'float32'>().finally(() => copy.dispose())});
  }
  const {data} = arrange(parts);
  const dtype: FloatType = type === TYPE.float16 ? 'F16' : 'F32';
  checkNumbers([[name, {data}]], dtype, finite);
  const bytes = new Uint8Array(data.length * (dtype === 'F16' ? 2 : 4));
  writeNumbers(new DataView(bytes.buffer), 0, data, dtype);
  return bytes;
}
