import * as tf from '@tensorflow/tfjs';
import type {Values} from '../../../platform/formats/layout';
import type {GraphAttribute, GraphNode} from '../../graph/graphDef';
import {attribute, range} from '../lower/lowering';
import {GraphWriter, type Source, Tensor} from './graphWriter';
import {type Attributes, numberOf, numbersOf, TYPE} from './messages';

/** An operation of ONNX as nodes of TensorFlow. Returns the names of its results. */
type Operation = (
  out: GraphDefWriter,
  inputs: readonly string[],
  attributes: Attributes,
  outputs: number,
) => string | string[];

/** Writes layers as nodes of a GraphModel: each operation of ONNX becomes one or a few of TensorFlow. */
export class GraphDefWriter extends GraphWriter {
  override readonly namesPadding = true;
  override readonly unrollsSteps = true;
  override readonly firstSpace = 1;
  readonly graphNodes: GraphNode[] = [];
  private readonly integers = new Set<string>();

  constructor(taken: Set<string>) {
    super(16, taken);
  }

  /** Whether the layer takes matrices alone. */
  get takesMatrices(): boolean {
    return this.inputs.every(({rank}) => rank === 2);
  }

  /** TensorFlow has the channels last. */
  override imageOrder(rank: number, channel: number): number[] {
    return [...range(rank).filter(axis => axis !== channel), channel];
  }

  /** TensorFlow has kernels as layers have them. */
  override filter(part: string, source: Source): string {
    return this.weight(part, source);
  }

  override nodeOf(op: string, inputs: readonly string[], attributes: Attributes, outputs: number): string[] {
    const operation = Object.hasOwn(OPERATIONS, op) ? OPERATIONS[op] : undefined;
    if (operation === undefined) {
      this.refuse(`GraphModels lack the operation ${op}, which it needs.`);
      return range(outputs).map(() => inputs[0] ?? '');
    }
    return [operation(this, inputs, attributes, outputs)].flat();
  }

  /** Adds a node. Returns its name. */
  emit(op: string, input: readonly string[], attr: Record<string, GraphAttribute> = {}, isInteger?: boolean): string {
    const name = this.freeName(`${this.layer}/${op}`);
    const ofIntegers = isInteger ?? input.slice(0, 1).some(each => this.isInteger(each));
    if (ofIntegers) {
      this.integers.add(name);
    }
    const type = attribute.type(ofIntegers ? 'DT_INT32' : 'DT_FLOAT');
    this.graphNodes.push({name, op, input: [...input], attr: {T: type, ...attr}});
    return name;
  }

  /** Whether a value consists of integers. */
  isInteger(name: string): boolean {
    return this.integers.has(name) || this.integersIn(name) !== undefined;
  }

  /** The values of a constant of integers, in 32 bits. */
  integersIn(name: string | undefined): number[] | undefined {
    const {type, data} = this.initializers.find(initializer => initializer.name === name) ?? {};
    return type === TYPE.int64 && data instanceof Uint8Array
      ? Array.from(new BigInt64Array(data.buffer), value => Math.min(Math.max(Number(value), -(2 ** 31)), 2 ** 31 - 1))
      : undefined;
  }

  /** The values of a constant of floats that does not depend on weights. */
  floatsIn(name: string | undefined): number[] | undefined {
    const {type, data} = this.initializers.find(initializer => initializer.name === name) ?? {};
    return type === TYPE.float && data instanceof Uint8Array ? [...new Float32Array(data.buffer)] : undefined;
  }

  constantShape(name: string): readonly number[] {
    return this.initializers.find(initializer => initializer.name === name)?.shape ?? [];
  }

  /** A value of the graph. */
  value(shape: tf.Shape, name: string): Tensor {
    return new Tensor(shape, TYPE.float, name);
  }

  /** The constants that nodes take. The caller disposes of them. */
  async constants(): Promise<[name: string, tensor: tf.Tensor][]> {
    const taken = new Set(this.graphNodes.flatMap(({input = []}) => input));
    const constants: [string, tf.Tensor][] = [];
    for (const {name, shape, bytes} of this.tensors({allowNonFinite: true}).filter(each => taken.has(each.name))) {
      const integers = this.integersIn(name);
      const {buffer} = bytes instanceof Uint8Array ? bytes : await bytes.read();
      const values = integers === undefined ? new Float32Array(buffer) : Int32Array.from(integers);
      constants.push([name, tf.tensor(values, [...shape], integers === undefined ? 'float32' : 'int32')]);
    }
    return constants;
  }

  int(value: number): string {
    return this.ints([value], []);
  }

  /** The constant that a function makes of others, one for each of their values. */
  computed(part: string, names: readonly string[], compute: (...values: number[]) => number): string {
    const found = names.map(name => this.initializers.find(initializer => initializer.name === name));
    const [first] = found;
    const parts = found.map(each => each?.data);
    const sources = parts.flatMap(data => (data !== undefined && 'sources' in data ? data.sources : []));
    return this.weights(part, sources, first?.shape ?? [], values => {
      let next = 0;
      const columns = parts.map(data => {
        const floats = data instanceof Uint8Array ? new Float32Array(data.buffer) : undefined;
        return floats ?? (values[next++] as Values).data;
      });
      const data = Float32Array.from(columns[0] ?? [], (_, i) =>
        compute(...columns.map(column => column[i] as number)),
      );
      return {shape: [...(first?.shape ?? [])], data};
    });
  }
}

const same =
  (op: string): Operation =>
  (out, inputs) =>
    out.emit(op, inputs);

/** Operations of two inputs, for several. */
const folded =
  (op: string): Operation =>
  (out, inputs) =>
    inputs.reduce((total, input) => out.emit(op, [total, input]));

const axesOf = (out: GraphDefWriter, inputs: readonly string[], {axes}: Attributes) =>
  out.integersIn(inputs[1]) ?? numbersOf(axes);

const reduced =
  (op: string): Operation =>
  (out, inputs, attributes) => {
    const axes = out.ints(axesOf(out, inputs, attributes));
    const keeps = attribute.flag(numberOf(attributes.keepdims, 1) === 1);
    return out.emit(op, [inputs[0] ?? '', axes], {keep_dims: keeps, Tidx: attribute.type('DT_INT32')});
  };

/** The size of an axis, as a list of one number. */
function sizeAt(out: GraphDefWriter, x: string, axis: number): string {
  return sliced(out, out.emit('Shape', [x], {}, true), [out.ints([axis]), out.ints([axis + 1])], [0]);
}

function sliced(
  out: GraphDefWriter,
  x: string,
  [from, to]: readonly [string, string],
  axes: readonly number[],
  steps?: readonly number[],
): string {
  const rank = Math.max(...axes) + 1;
  const skipped = range(rank).reduce((mask, axis) => (axes.includes(axis) ? mask : mask + 2 ** axis), 0);
  const [first = 0] = axes;
  const isOneBlock = axes.every((axis, i) => axis === first + i);
  if (!isOneBlock) {
    return axes.reduce((part, axis, i) => {
      const bounds = [from, to].map(list => sliced(out, list, [out.ints([i]), out.ints([i + 1])], [0]));
      return sliced(out, part, bounds as [string, string], [axis], steps && [steps[i] ?? 1]);
    }, x);
  }
  const zeros = out.ints(range(first).map(() => 0));
  const [begin, end] = [from, to].map(list => (first === 0 ? list : concatenated(out, [zeros, list])));
  const strides = out.ints([...range(first).map(() => 1), ...(steps ?? axes.map(() => 1))]);
  const masks = {begin_mask: attribute.int(skipped), end_mask: attribute.int(skipped)};
  return out.emit('StridedSlice', [x, begin ?? '', end ?? '', strides], masks);
}

function concatenated(out: GraphDefWriter, parts: readonly string[], axis = 0): string {
  const known = axis === 0 ? parts.map(part => out.integersIn(part)) : [undefined];
  return known.every(list => list !== undefined)
    ? out.ints(known.flat())
    : out.emit('ConcatV2', [...parts, out.int(axis)], {N: attribute.int(parts.length)});
}

/** In a shape of ONNX, 0 is the size of the same axis of the input. */
const reshape: Operation = (out, [x = '', shape = '']) => {
  const sizes = out.integersIn(shape);
  const zeros = sizes?.flatMap((size, axis) => (size === 0 ? [axis] : [])) ?? [];
  if (sizes === undefined || zeros.length === 0) {
    return out.emit('Reshape', [x, shape]);
  }
  const isOpen = zeros.length > 1 || sizes.includes(-1);
  const list = isOpen
    ? sizes.map((size, axis) => (size === 0 ? sizeAt(out, x, axis) : out.ints([size])))
    : [out.ints(sizes.map(size => (size === 0 ? -1 : size)))];
  return out.emit('Reshape', [x, concatenated(out, list)]);
};

const split: Operation = (out, [x = '', sizes], {axis}, outputs) => {
  const along = out.int(numberOf(axis, 0));
  const name =
    sizes === undefined
      ? out.emit('Split', [along, x], {num_split: attribute.int(outputs)}, out.isInteger(x))
      : out.emit('SplitV', [x, sizes, along], {num_split: attribute.int(outputs)});
  return range(outputs).map(i => (i === 0 ? name : `${name}:${i}`));
};

function pairsOf(list: readonly number[]): number[] {
  const rank = list.length / 2;
  return range(rank).flatMap(axis => [list[axis] ?? 0, list[rank + axis] ?? 0]);
}

/** `[before …, after …]` as pairs. */
const pad: Operation = (out, [x = '', pads = '']) => {
  const list = out.integersIn(pads);
  const rank = (list?.length ?? 0) / 2;
  const pairs = list
    ? out.ints(pairsOf(list), [rank, 2])
    : out.emit('Transpose', [out.emit('Reshape', [pads, out.ints([2, -1])]), out.ints([1, 0])]);
  return out.emit('PadV2', [x, pairs, out.float(0)]);
};

/** A window as TensorFlow has it, over an image that is one pixel high where it has one axis. */
function windowed(
  out: GraphDefWriter,
  x: string,
  attributes: Attributes,
  make: (image: string, settings: Record<string, GraphAttribute>, isFlat: boolean) => string,
): string {
  const size = numbersOf(attributes.kernel_shape);
  const isFlat = size.length === 1;
  const ofImage = (list: readonly number[]) => attribute.ints([1, ...(isFlat ? [1] : []), ...list, 1]);
  const list = (value: Attributes[string]) => (Array.isArray(value) ? value.map(Number) : size.map(() => 1));
  if ('pads' in attributes) {
    out.refuse('GraphModels cannot pad its windows like this.');
  }
  const settings = {
    ksize: ofImage(size),
    strides: ofImage(list(attributes.strides)),
    dilations: ofImage(list(attributes.dilations)),
    padding: attribute.text(attributes.auto_pad === 'SAME_UPPER' ? 'SAME' : 'VALID'),
    data_format: attribute.text(size.length === 3 ? 'NDHWC' : 'NHWC'),
  };
  const image = isFlat ? out.emit('ExpandDims', [x, out.int(1)]) : x;
  const y = make(image, settings, isFlat);
  return isFlat ? out.emit('Squeeze', [y], {squeeze_dims: attribute.ints([1])}) : y;
}

const conv: Operation = (out, [x = '', w = '', bias], attributes) => {
  const y = windowed(out, x, attributes, (image, {ksize: _, ...settings}, isFlat) => {
    const filter = isFlat ? out.emit('ExpandDims', [w, out.int(0)]) : w;
    const op = numberOf(attributes.group, 1) > 1 ? 'DepthwiseConv2dNative' : isVolume(attributes) ? 'Conv3D' : 'Conv2D';
    return out.emit(op, [image, filter], settings);
  });
  return bias === undefined ? y : out.emit('BiasAdd', [y, bias]);
};

function isVolume({kernel_shape: size}: Attributes): boolean {
  return numbersOf(size).length === 3;
}

/** The sizes of an image, each multiplied by a factor. */
function scaledSizes(out: GraphDefWriter, x: string, factors: readonly number[]): string {
  const sizes = sliced(out, out.emit('Shape', [x], {}, true), [out.ints([1]), out.ints([1 + factors.length])], [0]);
  return out.emit('Mul', [sizes, out.ints(factors)]);
}

/** Its output has the size of the input of the convolution that this is the gradient of. */
const convTranspose: Operation = (out, [x = '', w = '', bias], attributes) => {
  const [size, strides] = [numbersOf(attributes.kernel_shape), numbersOf(attributes.strides)];
  if (size.length !== 2) {
    out.refuse('Transposed convolutions of volumes cannot be written.');
  }
  const beyond = size.map((taps, axis) => Math.max(taps - (strides[axis] ?? 1), 0));
  const scaled = scaledSizes(out, x, strides);
  const sizes = 'auto_pad' in attributes ? scaled : out.emit('AddV2', [scaled, out.ints(beyond)]);
  const shape = concatenated(out, [sizeAt(out, x, 0), sizes, out.ints([out.constantShape(w)[2] ?? 1])]);
  const y = windowed(out, x, attributes, (image, {ksize: _, dilations: __, ...settings}) =>
    out.emit('Conv2DBackpropInput', [shape, w, image], settings, false),
  );
  return bias === undefined ? y : out.emit('BiasAdd', [y, bias]);
};

const pool =
  (op: string): Operation =>
  (out, [x = ''], attributes) =>
    windowed(out, x, attributes, (image, {dilations: _, ...settings}) =>
      out.emit(isVolume(attributes) ? `${op}3D` : op, [image], settings),
    );

const resize: Operation = (out, [x = '', , scales], {mode}) => {
  const factors = out.floatsIn(scales)?.slice(2);
  if (factors === undefined) {
    out.refuse('Resizing to the size of another tensor cannot be written.');
    return x;
  }
  return out.emit(mode === 'linear' ? 'ResizeBilinear' : 'ResizeNearestNeighbor', [x, scaledSizes(out, x, factors)]);
};

/** `x·s + t`, with both computed when it is written. */
const batchNormalization: Operation = (out, [x = '', scale = '', shift = '', mean = '', variance = ''], {epsilon}) => {
  const {fround} = Math;
  const least = fround(numberOf(epsilon, 1e-5));
  const factor = (g: number, v: number) => fround(g / fround(Math.sqrt(fround(v + least))));
  const factors = out.computed('scale', [scale, variance], factor);
  const shifts = out.computed('shift', [shift, mean, scale, variance], (b, m, g, v) =>
    fround(b - fround(m * factor(g, v))),
  );
  return out.emit('AddV2', [out.emit('Mul', [x, factors]), shifts]);
};

/** `min(max(alpha·x + beta, 0), 1)` */
const hardSigmoid: Operation = (out, [x = ''], {alpha, beta}) => {
  const scaled = out.emit('Mul', [x, out.float(numberOf(alpha, 0.2))]);
  const shifted = out.emit('AddV2', [scaled, out.float(numberOf(beta, 0.5))]);
  return out.emit('ClipByValue', [shifted, out.float(0), out.float(1)]);
};

const cast: Operation = (out, [x = ''], {to}) => {
  const type = to === TYPE.float ? 'DT_FLOAT' : to === TYPE.bool ? 'DT_BOOL' : 'DT_INT32';
  return out.emit('Cast', [x], {DstT: attribute.type(type)}, type !== 'DT_FLOAT');
};

/** Operations that have the same name in TensorFlow. */
const SAME_NAMES =
  'Abs Cos Elu Equal Erf Exp Floor Greater Less LogSoftmax Mul Neg Relu Selu Sigmoid Sin Softmax Softplus Sqrt Sub ' +
  'Tanh Tile';

/** `x / (1 + |x|)`. The executor of GraphModels lacks the operation. */
const softsign: Operation = (out, [x = '']) =>
  out.emit('RealDiv', [x, out.emit('AddV2', [out.emit('Abs', [x]), out.float(1)])]);

/** `x` above `alpha`, else 0. */
const thresholdedRelu: Operation = (out, [x = ''], {alpha}) => {
  const isAbove = out.emit('Greater', [x, out.float(numberOf(alpha, 1))]);
  return out.emit('Mul', [x, out.emit('Cast', [isAbove], {DstT: attribute.type('DT_FLOAT')})]);
};

const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(SAME_NAMES.split(' ').map(op => [op, same(op)])),
  Add: same('AddV2'),
  And: same('LogicalAnd'),
  ArgMax: (out, [x = ''], {axis}) => {
    const along = out.int(numberOf(axis, 0));
    return out.emit('ExpandDims', [out.emit('ArgMax', [x, along], {}, true), along]);
  },
  AveragePool: pool('AvgPool'),
  BatchNormalization: batchNormalization,
  Cast: cast,
  Clip: (out, inputs) => out.emit('ClipByValue', inputs),
  Concat: (out, inputs, {axis}) => concatenated(out, inputs, numberOf(axis, 0)),
  Conv: conv,
  ConvTranspose: convTranspose,
  CumSum: (out, inputs, {reverse}) =>
    out.emit('Cumsum', inputs, {reverse: attribute.flag(numberOf(reverse, 0) === 1), exclusive: attribute.flag(false)}),
  Div: same('RealDiv'),
  // Both may have axes of size 1 that the other has not.
  Expand: (out, [x = '', shape = '']) => out.emit('Mul', [x, out.emit('Fill', [shape, out.float(1)], {}, false)]),
  Flatten: (out, [x = '']) => out.emit('Reshape', [x, concatenated(out, [sizeAt(out, x, 0), out.ints([-1])])]),
  Gather: (out, [x = '', indices = ''], {axis}) =>
    out.emit('GatherV2', [x, indices, out.int(numberOf(axis, 0))], {}, out.isInteger(x)),
  HardSigmoid: hardSigmoid,
  LeakyRelu: (out, inputs, {alpha}) => out.emit('LeakyRelu', inputs, {alpha: attribute.number(numberOf(alpha, 0.01))}),
  MatMul: (out, inputs) => out.emit(out.takesMatrices ? 'MatMul' : 'BatchMatMulV2', inputs),
  Max: folded('Maximum'),
  MaxPool: pool('MaxPool'),
  Mean: (out, inputs) =>
    out.emit('Mul', [inputs.reduce((total, input) => out.emit('AddV2', [total, input])), out.float(1 / inputs.length)]),
  Min: folded('Minimum'),
  Not: same('LogicalNot'),
  PRelu: same('Prelu'),
  Pad: pad,
  Range: (out, inputs) => out.emit('Range', inputs, {Tidx: attribute.type('DT_INT32')}, true),
  ReduceL2: (out, inputs, attributes) => {
    const squares = reduced('Sum')(out, [out.emit('Square', inputs.slice(0, 1)), ...inputs.slice(1)], attributes, 1);
    return out.emit('Sqrt', [String(squares)]);
  },
  ReduceMax: reduced('Max'),
  ReduceMean: reduced('Mean'),
  ReduceSum: reduced('Sum'),
  Reshape: reshape,
  Resize: resize,
  Shape: (out, inputs) => out.emit('Shape', inputs, {}, true),
  Slice: (out, [x = '', from = '', to = '', axes, steps]) =>
    sliced(out, x, [from, to], out.integersIn(axes) ?? [0], steps === undefined ? undefined : out.integersIn(steps)),
  Softsign: softsign,
  Split: split,
  Squeeze: (out, inputs, attributes) =>
    out.emit('Squeeze', inputs.slice(0, 1), {squeeze_dims: attribute.ints(axesOf(out, inputs, attributes))}),
  Sum: folded('AddV2'),
  ThresholdedRelu: thresholdedRelu,
  Transpose: (out, inputs, {perm}) => out.emit('Transpose', [inputs[0] ?? '', out.ints(numbersOf(perm))]),
  Unsqueeze: (out, inputs, attributes) =>
    axesOf(out, inputs, attributes).reduce((x, axis) => out.emit('ExpandDims', [x, out.int(axis)]), inputs[0] ?? ''),
};
