import type * as tf from '@tensorflow/tfjs';
import type {GateActivation} from '../../../core/ops/formulaOps';
import {showShape} from '../../../platform/errors';
import type {ActivationObject, ReluLayer} from '../../../platform/tfjs/layerFields';
import {type GraphWriter, Tensor} from '../write/graphWriter';
import {Fraction, TYPE} from '../write/messages';
import type {Call, Write} from './call';

const multiplied = (out: GraphWriter, x: string, factor: string) => out.node('Mul', [x, factor]);

/** `x·Φ(x)`. */
function gelu(out: GraphWriter, x: string): string {
  const erf = out.node('Erf', [out.node('Div', [x, out.float(Math.SQRT2)])]);
  const twice = multiplied(out, x, out.node('Add', [erf, out.float(1)]));
  return multiplied(out, twice, out.float(0.5));
}

/** `½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`. */
function tanhGelu(out: GraphWriter, x: string): string {
  const cube = multiplied(out, multiplied(out, x, x), x);
  const inner = out.node('Add', [x, multiplied(out, cube, out.float(0.044715))]);
  const tanh = out.node('Tanh', [multiplied(out, inner, out.float(Math.sqrt(2 / Math.PI)))]);
  const half = multiplied(out, x, out.float(0.5));
  return multiplied(out, half, out.node('Add', [tanh, out.float(1)]));
}

/** `x·sigmoid(slope·x)`. */
export function swish(out: GraphWriter, x: string, slope = 1): string {
  const steep = slope === 1 ? x : multiplied(out, x, out.float(slope));
  return multiplied(out, x, out.node('Sigmoid', [steep]));
}

/** The activation of a gate. */
export function gateActivation(out: GraphWriter, x: string, activation: GateActivation): string {
  return activation === 'silu' ? swish(out, x) : activation === 'gelu' ? gelu(out, x) : tanhGelu(out, x);
}

const one = (op: string) => (out: GraphWriter, x: string) => out.node(op, [x]);

/** Keras's `hard_sigmoid` of today. */
const relu6Sigmoid = (out: GraphWriter, x: string) =>
  out.node('HardSigmoid', [x], {alpha: new Fraction(1 / 6), beta: new Fraction(0.5)});

/** By the class of an activation. All are elementwise. */
const ACTIVATIONS: Readonly<Record<string, (out: GraphWriter, x: string) => string>> = {
  linear: (_, x) => x,
  elu: one('Elu'),
  selu: one('Selu'),
  relu: one('Relu'),
  relu6: (out, x) => out.clip(x, 0, 6),
  sigmoid: one('Sigmoid'),
  hardSigmoid: one('HardSigmoid'),
  softplus: one('Softplus'),
  softsign: one('Softsign'),
  tanh: one('Tanh'),
  gelu,
  gelu_new: tanhGelu,
  mish: (out, x) => multiplied(out, x, out.node('Tanh', [out.node('Softplus', [x])])),
  swish,
  'tfjs-lora>exponential': one('Exp'),
  'tfjs-lora>hardSilu': (out, x) => multiplied(out, x, relu6Sigmoid(out, x)),
  'tfjs-lora>leakyRelu': (out, x) => out.node('LeakyRelu', [x], {alpha: new Fraction(0.2)}),
  'tfjs-lora>relu6Sigmoid': relu6Sigmoid,
};

/** Activations over an axis, the last one. */
const OVER_AXIS: Readonly<Record<string, string>> = {softmax: 'Softmax', logSoftmax: 'LogSoftmax'};

/** An activation of a tensor, whose channels are the last axis by default. */
export function activated(
  out: GraphWriter,
  tensor: Tensor,
  activation: ActivationObject | null | undefined,
  axis = tensor.rank - 1,
): Tensor {
  const name = activation?.getClassName() ?? 'linear';
  const op = Object.hasOwn(OVER_AXIS, name) ? OVER_AXIS[name] : undefined;
  if (op !== undefined) {
    return overAxis(out, tensor, op, axis);
  }
  const write = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (write === undefined) {
    out.refuse(`The activation ${name} cannot be written.`);
    return tensor;
  }
  return name === 'linear' ? tensor : out.elementwise(tensor, x => write(out, x));
}

function overAxis(out: GraphWriter, tensor: Tensor, op: string, axis: number): Tensor {
  // Before opset 13, it means all axes from this one on.
  if (out.opset < 13 && axis !== tensor.rank - 1) {
    out.refuse(`Opset ${out.opset} has no softmax over axis ${axis}.`);
  }
  const operand = out.opset < 13 || out.namesPadding ? out.asPlain(tensor) : tensor;
  return out.elementwise(operand, x => out.node(op, [x], {axis: operand.order.indexOf(axis)}));
}

const activation: Write = (out, call) =>
  activated(out, call.input, call.fields<{activation: ActivationObject}>().activation);

const relu: Write = (out, call) => {
  const {maxValue} = call.fields<ReluLayer>();
  return out.elementwise(call.input, x => (maxValue == null ? out.node('Relu', [x]) : out.clip(x, 0, maxValue)));
};

/** An operation with a slope. */
function sloped(op: string): Write {
  return (out, call) => {
    const alpha = new Fraction(call.fields<{alpha: number}>().alpha);
    return out.elementwise(call.input, x => out.node(op, [x], {alpha}));
  };
}

/** The slopes have the axes of an example, some of size 1. */
const prelu: Write = (out, call) => {
  const {alpha} = call.fields<{alpha: tf.LayerVariable}>();
  const {order} = call.input;
  const perm = order.filter(axis => axis > 0).map(axis => axis - 1);
  const slopes = out.weight('alpha', alpha, {perm});
  return out.elementwise(call.input, x => out.node('PRelu', [x, slopes]));
};

const thresholdedRelu: Write = (out, call) => {
  const alpha = new Fraction(call.fields<{theta: number}>().theta);
  return out.elementwise(call.input, x => out.node('ThresholdedRelu', [x], {alpha}));
};

/** The input of a softmax. Masked values are lowered by 10⁹. */
function unmasked(out: GraphWriter, {input, mask}: Call): Tensor {
  if (mask === undefined) {
    return input;
  }
  const {name, shape} = mask;
  if (name === undefined || shape.length !== input.rank || shape.some((size, i) => size !== input.shape[i])) {
    out.refuse(
      `A Softmax of ${showShape(input.shape)} with a mask of ${showShape(shape)} cannot be written. ` +
        'Use the activation softmax of the layer before it, which reads no mask.',
    );
    return input;
  }
  const hidden = out.node('Sub', [out.float(1), out.cast(name, TYPE.float)]);
  const lowered = out.node('Mul', [hidden, out.float(-1e9)]);
  return new Tensor(input.shape, TYPE.float, out.node('Add', [out.plain(input), lowered]));
}

const softmax: Write = (out, call) => {
  const {axis} = call.fields<{axis: number | number[]}>();
  const [only = -1, ...moreAxes] = [axis].flat();
  if (moreAxes.length > 0) {
    out.refuse('A softmax over several axes cannot be written.');
  }
  return overAxis(out, unmasked(out, call), 'Softmax', only < 0 ? only + call.input.rank : only);
};

export const ACTIVATION_LAYERS: Readonly<Record<string, Write>> = {
  Activation: activation,
  ReLU: relu,
  LeakyReLU: sloped('LeakyRelu'),
  PReLU: prelu,
  ELU: sloped('Elu'),
  ThresholdedReLU: thresholdedRelu,
  Softmax: softmax,
};
