import * as tf from '@tensorflow/tfjs';
import {inputsOf, numberOf, typeOf} from '../graphDef';
import {broadcastSize, copied, INDEXED, ofFirst, sizeOf} from './bounds';
import {rowFor, type LayerRule, type Operation, type ShapeRule, type Work} from './operation';
import {alongLast, byBroadcast, byFirst, isFlow, mixed} from './rowRules';
import {ACTIVATION_OPS, preluOf} from './tail';

export const broadcast: ShapeRule = shapes =>
  shapes.reduce<number[]>((one, other) => tf.backend_util.assertAndGetBroadcastShape(one, [...other]), []);

export const selected: ShapeRule = (shapes, values, node) => copied(broadcast(shapes, values, node));

/** tfjs computes the indices of the inputs that it broadcasts. */
const selecting: Work = (inputs, _, size) => INDEXED * size * inputs.filter(input => sizeOf(input) < size).length;

const activation: LayerRule = (node, planner) => {
  const [x = ''] = inputsOf(node);
  if (!planner.floats(x)) {
    return false;
  }
  planner.addLayer(node, {
    className: 'Activation',
    config: {activation: ACTIVATION_OPS[node.op] as string},
    inputs: [x],
  });
  return true;
};

/** A sum, product, minimum or maximum of tensors of one shape. */
function merge(className: string): LayerRule {
  return (node, planner) => {
    const names = inputsOf(node);
    const flows = names.map(name => planner.floats(name));
    const shapes = new Set(flows.map(flow => JSON.stringify(flow?.shapes)));
    // A layer called with one tensor twice would receive it once.
    const keys = new Set(
      names.map(name => planner.valueOf(name)).map(value => (value?.kind === 'flow' ? value.key : '')),
    );
    if (names.length < 2 || flows.includes(undefined) || shapes.size > 1 || keys.size < names.length) {
      return false;
    }
    planner.addLayer(node, {className, inputs: names});
    return true;
  };
}

const prelu: LayerRule = (node, planner) => {
  const after = preluOf(node, 1, planner);
  if (after !== undefined) {
    planner.addLayer(node, {...after, inputs: inputsOf(node).slice(0, 1)});
  }
  return after !== undefined;
};

const leakyRelu: LayerRule = (node, planner) => {
  const [x = ''] = inputsOf(node);
  if (!planner.floats(x)) {
    return false;
  }
  planner.addLayer(node, {className: 'LeakyReLU', config: {alpha: numberOf(node, 'alpha', 0.2)}, inputs: [x]});
  return true;
};

const unary: Operation = {size: ofFirst, rows: byFirst};
/** Those whose results are floats. */
const floats: Operation = {...unary, shape: broadcast};
const binary: Operation = {size: broadcastSize, rows: byBroadcast};
const arithmetic: Operation = {...binary, shape: broadcast, combines: 'other'};

/** Operations that compute each value of their results from single values of their inputs, and softmax. */
export const ELEMENTWISE: Readonly<Record<string, Operation>> = {
  ...rowFor(
    'Expm1 Log1p Reciprocal Inv Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Floor Ceil Round Rint Sign LogicalNot ' +
      'IsNan IsInf IsFinite ZerosLike OnesLike _FusedHardSwish _FusedSwish ClipByValue FakeQuantWithMinMaxVars ' +
      'Real Imag ComplexAbs',
    unary,
  ),
  ...rowFor('Abs Cos Erf Exp Log Neg Rsqrt Sin Sqrt Square', floats),
  ...rowFor('Elu Relu Relu6 Sigmoid Softplus Tanh', {...floats, layer: activation}),
  ...rowFor('Selu Softsign', {...unary, layer: activation}),
  LeakyRelu: {...floats, layer: leakyRelu},
  Cast: {...unary, moves: node => (typeOf(node, 'DstT') === 'bool' ? undefined : [0])},
  ...rowFor('Identity StopGradient Snapshot CheckNumerics PreventGradient EnsureShape PlaceholderWithDefault', {
    ...unary,
    passes: true,
  }),
  IdentityN: {size: broadcastSize, rows: mixed},
  ...rowFor(
    'DivNoNan Mod Atan2 BiasAdd Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr BitwiseAnd',
    binary,
  ),
  ...rowFor('Pow SquaredDifference', {...binary, shape: broadcast}),
  ...rowFor('Div RealDiv', arithmetic),
  ...rowFor('FloorDiv FloorMod', {...binary, combines: 'other'}),
  ...rowFor('Add AddV2', {...arithmetic, combines: 'sum', layer: merge('Add')}),
  Sub: {...arithmetic, combines: 'difference'},
  Mul: {...arithmetic, combines: 'product', layer: merge('Multiply')},
  Maximum: {...arithmetic, layer: merge('Maximum')},
  Minimum: {...arithmetic, layer: merge('Minimum')},
  AddN: {
    size: inputs => Math.max(...inputs.map(sizeOf)),
    rows: subject => subject.values.every(isFlow) && byBroadcast(subject),
    layer: merge('Add'),
  },
  Prelu: {...binary, layer: prelu},
  Complex: {size: broadcastSize, rows: mixed},
  Select: {size: broadcastSize, rows: mixed, work: selecting},
  SelectV2: {...binary, shape: selected, work: selecting},
  Softmax: {size: ofFirst, rows: alongLast, shape: broadcast, layer: activation},
  LogSoftmax: {size: ofFirst, rows: alongLast},
};
