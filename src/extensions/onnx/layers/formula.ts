import {type FormulaLayer, weightValues} from '../../../core/layers/formulaLayer';
import type {KerasLayerArgs, Operation} from '../../../core/keras/layerOperation';
import type {TransformerOps} from '../../../core/ops/formulaOps';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {ActivationObject} from '../../../platform/tfjs/layerFields';
import {range} from '../lower/lowering';
import {channelsFirst, type GraphWriter, type Source, Tensor} from '../write/graphWriter';
import {Fraction, TYPE} from '../write/messages';
import {activated, gateActivation, swish} from './activations';
import {rotatedByAngles} from './attention';
import type {Call, Write} from './call';
import {indices, normalizedRows} from './shapes';
import {
  croppedLike,
  ifLarger,
  paddedToPieces,
  patchPairs,
  piecesOf,
  reshapeTo,
  resizedTable,
  resizedTo,
  rolled,
  scaledSize,
} from './windows';

/** A value: an input, whose axes may be in another order, or the name of a result. */
type Value = Tensor | string;

/** The operations of formulas as nodes. */
function nodeOps(out: GraphWriter): TransformerOps<Value, string> {
  const name = (x: Value | number) => (typeof x === 'number' ? out.float(x) : typeof x === 'string' ? x : out.plain(x));
  const elementwise =
    (op: string) =>
    (...operands: (Value | number)[]) =>
      out.node(op, operands.map(name));
  const reduced =
    (op: string) =>
    (x: Value, axes: readonly number[], keepsAxes = true) =>
      out.reduce(op, name(x), axes, keepsAxes);
  const typed = (x: Value, result: string) =>
    x instanceof Tensor && x.type !== TYPE.float ? new Tensor([], x.type, result) : result;
  const firstSizes = (x: Value, axes: number) => out.slice(out.node('Shape', [name(x)]), 0, 0, axes);
  const halves = (x: Value, axis: number) => out.nodeOf('Split', [name(x)], {axis}, 2) as [string, string];
  const isNot = (x: Value, value: number) =>
    out.once(`${name(x)} but ${value}`, () => {
      const type = x instanceof Tensor ? x.type : TYPE.float;
      const number = type === TYPE.float ? out.float(value) : out.cast(out.float(value), type);
      return out.cast(out.node('Not', [out.node('Equal', [name(x), number])]), TYPE.float);
    });
  return {
    ...{add: elementwise('Add'), sub: elementwise('Sub'), mul: elementwise('Mul'), div: elementwise('Div')},
    ...{max: elementwise('Max'), min: elementwise('Min'), abs: elementwise('Abs'), exp: elementwise('Exp')},
    ...{floor: elementwise('Floor'), relu: elementwise('Relu'), sqrt: elementwise('Sqrt'), tanh: elementwise('Tanh')},
    ...{equal: elementwise('Equal'), less: elementwise('Less'), matMul: elementwise('MatMul')},
    ...{linear: elementwise('MatMul')},
    rsqrt: x => out.node('Div', [out.float(1), out.node('Sqrt', [name(x)])]),
    step: x => out.cast(out.node('Greater', [name(x), out.float(0)]), TYPE.float),
    clip: (x, low, high) => out.clip(name(x), low, high),
    atLeast: (a, b) => out.node('Not', [out.node('Less', [name(a), name(b)])]),
    square: x => out.node('Mul', [name(x), name(x)]),
    float: x => out.cast(name(x), TYPE.float),
    int: x => new Tensor([], TYPE.int32, out.cast(name(x), TYPE.int32)),
    is: (x, value) => out.node('Sub', [out.float(1), isNot(x, value)]),
    isNot,
    shown: mask => out.once(`shown ${name(mask)}`, () => out.cast(out.cast(name(mask), TYPE.bool), TYPE.float)),
    ...{sum: reduced('ReduceSum'), mean: reduced('ReduceMean'), greatest: reduced('ReduceMax')},
    norm: (x, axes) => out.reduce('ReduceL2', name(x), axes, true),
    argMax: (x, axis) => out.node('ArgMax', [x instanceof Tensor ? indices(out, x) : x], {axis, keepdims: 1}),
    cumsum: (x, axis, reverse) =>
      out.node('CumSum', [name(x), out.ints([axis], [])], reverse === undefined ? {} : {reverse: Number(reverse)}),
    gather: (table, rows) =>
      out.node('Gather', [name(table), rows instanceof Tensor ? indices(out, rows) : out.cast(rows, TYPE.int64)]),
    reshape: (x, shape) => typed(x, reshapeTo(out, name(x), shape)),
    reshapeLike(x, like, axes, sizesAfter) {
      const sizes = firstSizes(like, axes);
      const shape = sizesAfter.length === 0 ? sizes : out.node('Concat', [sizes, out.ints(sizesAfter)], {axis: 0});
      return out.node('Reshape', [name(x), shape]);
    },
    transpose: (x, perm) => out.node('Transpose', [name(x)], {perm}),
    expandDims: (x, axes) => out.unsqueeze(name(x), axes),
    squeeze: (x, axes) => out.squeeze(name(x), axes),
    concat: (parts, axis) => out.node('Concat', parts.map(name), {axis}),
    halves,
    slice: (x, axis, from, to) =>
      out.node('Slice', [name(x), out.ints([from]), typeof to === 'number' ? out.ints([to]) : to, out.ints([axis])]),
    pad: (x, margins) =>
      out.node('Pad', [name(x), out.ints([0, 1].flatMap(end => margins.map(sizes => sizes[end] ?? 0)))]),
    repeat(example, batch, rank) {
      const shape = out.node('Concat', [batch, out.ints(range(rank - 1).map(() => 1))], {axis: 0});
      return out.node('Expand', [name(example), shape]);
    },
    values: list => out.floats(list),
    range: (count, type = 'float32') =>
      type === 'int32' ? out.positions(count) : out.cast(out.positions(count), TYPE.float),
    ones(like) {
      const shape = firstSizes(like, 2);
      return out.node('Expand', [out.float(1), shape]);
    },
    size: (x, axis) => (typeof x === 'string' ? out.sizeOf(x, axis) : out.sizeOf(x.name, x.order.indexOf(axis))),
    plus: (size, more) => out.node('Add', [size, out.ints([more])]),
    times: (size, factor) => scaledSize(out, size, factor),
    pieces: (size, piece) => piecesOf(out, size, piece),
    ifLarger: (sizes, than, factor) => ifLarger(out, sizes, than, factor),
    affine: (x, gamma, beta) => out.node('Add', [out.node('Mul', [name(x), name(gamma)]), name(beta)]),
    activate: (x, activation) => gateActivation(out, name(x), activation),
    swish: (x, slope) => swish(out, name(x), slope),
    gate: (gate, x, activation) => out.node('Mul', [gateActivation(out, name(gate), activation), name(x)]),
    gateHalves(x, activation, axis) {
      const [gate, values] = halves(x, axis);
      return out.node('Mul', [gateActivation(out, gate, activation), values]);
    },
    normalizeRows(first, residual, weights, {shape, size, centered, addsOne, epsilon}) {
      const x = residual === undefined ? name(first) : out.node('Add', [name(first), name(residual)]);
      const gamma = name(weights.gamma);
      const scale = addsOne ? out.node('Add', [gamma, out.float(1)]) : gamma;
      const shift = weights.beta === undefined ? undefined : name(weights.beta);
      const [rank, width] = [shape.length, shape.at(-1) ?? 0];
      const rows = {epsilon, centered, scale, shift};
      if (size === undefined || size === width) {
        return normalizedRows(out, x, rank, {...rows, axes: [rank - 1]});
      }
      const sizes = range(rank - 1).map(() => 0);
      const pieces = out.reshape(x, [...sizes, width / size, size]);
      return out.reshape(normalizedRows(out, pieces, rank + 1, {...rows, axes: [rank]}), [...sizes, width]);
    },
    normalizeChannels(x, gamma, beta) {
      const order = channelsFirst(3);
      const inputs = [out.held(x as Tensor, order), name(gamma), name(beta)];
      return new Tensor(
        [],
        TYPE.float,
        out.node('InstanceNormalization', inputs, {epsilon: new Fraction(1e-5)}),
        order,
      );
    },
    cosines(a, b) {
      const [rows = '', columns = ''] = [a, b].map(x => {
        const squares = out.reduce('ReduceSum', out.node('Mul', [name(x), name(x)]), [1], true);
        return out.node('Div', [name(x), out.node('Sqrt', [out.node('Max', [squares, out.float(1e-24)])])]);
      });
      return out.node('MatMul', [rows, out.node('Transpose', [columns], {perm: [1, 0]})]);
    },
    shares: (counts, sum) => out.node('Div', [name(counts), out.node('Max', [name(sum), out.float(1)])]),
    rotate: (x, angles, heads, size) => rotatedByAngles(out, name(x), name(angles), heads, size),
    maxPool(x, {size, stride, padding}) {
      const order = channelsFirst(4);
      const attributes = {
        kernel_shape: [size, size],
        strides: [stride, stride],
        pads: [padding, padding, padding, padding],
      };
      return new Tensor([], TYPE.float, out.node('MaxPool', [out.held(x as Tensor, order)], attributes), order);
    },
    resize: (x, height, width) => resizedTo(out, x, [height, width]),
    resizeTable: (table, grid, to, method) => resizedTable(out, name(table), grid, to, method),
    patchPairs: (rows, columns) => patchPairs(out, rows, columns),
    roll: (x, by, back = false) => rolled(out, name(x), by, back),
    padToPieces: (x, pieces) => paddedToPieces(out, name(x), pieces),
    cropLike: (x, like) => croppedLike(out, name(x), name(like)),
    logOfZero: () => -1e30,
  };
}

/** Whether a layer is one whose formula can be written. */
export function hasFormula(layer: object): layer is FormulaLayer {
  return 'definition' in layer && (layer as FormulaLayer).definition.formula !== undefined;
}

/** Writes the formula of a layer. */
export const formula: Write = (out, call) => {
  const {layer, inputs} = call as Call & {layer: FormulaLayer};
  const {isElementwise, weights, formula: compute} = layer.definition;
  const write = (values: readonly Value[]): Value => {
    const ofWeights = weightValues<Value, object>(layer, ({variable, form}, name) =>
      out.weight(name, variable, form && {shape: form}),
    );
    const shapes = inputs.map(({shape}) => shape) as [Tensor['shape'], ...Tensor['shape'][]];
    return (compute as NonNullable<typeof compute>)(
      nodeOps(out),
      values as [Value, Value],
      layer.settings as never,
      ofWeights as never,
      shapes,
    );
  };
  if (isElementwise === true && weights === undefined) {
    return out.elementwise(call.input, x => write([x]) as string);
  }
  const result = write(inputs);
  return typeof result === 'string'
    ? call.output(result)
    : new Tensor(call.shape, result.type, result.name, result.order.length > 0 ? result.order : undefined);
};

/** The fields of a `KerasLayer`. */
interface KerasFields {
  operation: Operation;
  args: KerasLayerArgs;
  variables: Readonly<Record<string, Source>>;
}

/** Writes an operation of Keras that no layer of tfjs computes. */
export const kerasLayer: Write = (out, call) => {
  const {operation, args, variables} = fieldsOf<KerasFields>(call.layer);
  const {activation = 'linear', computes} = args;
  if (operation.formula === undefined || (args.heedsMask === true && call.mask && call.mask.name === undefined)) {
    out.refuse(`The operation ${computes} of Keras cannot be written.`);
    return call.input;
  }
  const weights = Object.fromEntries(
    Object.entries(variables).map(([name, variable]) => [name, out.weight(name, variable) as Value]),
  );
  const mask = call.mask?.name;
  const {shape} = call.input;
  const y = operation.formula<Value, string>(nodeOps(out), out.plain(call.input), args, {weights, mask, shape});
  return activated(out, call.output(y as string), {getClassName: () => activation} as ActivationObject);
};
