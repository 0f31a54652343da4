import type {GraphNode} from '../../graph/graphDef';
import {range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** Plans one ONNX node: computes its outputs as TensorFlow nodes and layers. */
export type Rule = (call: OnnxCall) => Promise<void> | void;

/** ONNX operation → activation of a tfjs layer. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  Relu: 'relu',
  Sigmoid: 'sigmoid',
  Tanh: 'tanh',
  Softplus: 'softplus',
  Softsign: 'softsign',
  Elu: 'elu',
  Selu: 'selu',
  Clip: 'relu6',
};

/** The activation that can be fused into the layer of `node`, and the ONNX nodes that the layer then computes. */
export function activationAfter(call: OnnxCall, node: GraphNode): {activation: string; absorbed: GraphNode[]} {
  const next = call.follower(node, ...Object.keys(ACTIVATIONS));
  const activation = next && activationOf(next);
  return next && activation !== undefined ? {activation, absorbed: [next.node]} : {activation: 'linear', absorbed: []};
}

/** The tfjs activation that computes a node; `undefined` if there is none. */
function activationOf(call: OnnxCall): string | undefined {
  const fits =
    (call.op !== 'Elu' || call.float('alpha', 1) === 1) &&
    (call.op !== 'Selu' || hasStandardSeluConstants(call)) &&
    (call.op !== 'Clip' || boundsOf(call).join() === '0,6') &&
    call.unreadAttributes.length === 0;
  return fits ? ACTIVATIONS[call.op] : undefined;
}

/** Whether a Selu has the constants of the paper, which tfjs fixes. */
function hasStandardSeluConstants(call: OnnxCall): boolean {
  const [alpha, gamma] = [call.float('alpha', 1.67326319), call.float('gamma', 1.05070102)];
  return Math.abs(alpha - 1.67326319) < 1e-6 && Math.abs(gamma - 1.05070102) < 1e-6;
}

export const selu: Rule = async call => {
  if (!hasStandardSeluConstants(call)) {
    call.refuse('The node has another alpha or gamma than usual.');
  }
  await unary('Selu')(call);
};

/** The bounds of a Clip; `undefined` for a bound that is not a constant. */
function boundsOf(call: OnnxCall): (number | undefined)[] {
  return ['min', 'max'].map((name, i) =>
    call.has(1 + i) ? call.numbers(1 + i)?.[0] : call.float(name, i === 0 ? -Infinity : Infinity),
  );
}

/** A rule for an elementwise operation of one tensor. */
export function unary(op: string, attr: (call: OnnxCall) => Parameters<OnnxCall['emit']>[2] = () => ({})): Rule {
  return async call => call.setOutput(await call.emit(op, [call.key(0)], attr(call)), call.perm());
}

export const clip: Rule = async call => {
  const [low, high] = boundsOf(call);
  const [x, perm] = [call.key(0), call.perm()];
  if (low === 0 && (high === 6 || high === Infinity)) {
    call.setOutput(await call.emit(high === 6 ? 'Relu6' : 'Relu', [x]), perm);
    return;
  }
  const type = call.dtype() === 'int32' ? ('int32' as const) : ('float32' as const);
  const bound = (value: number | undefined, index: number) =>
    value === undefined ? call.key(index) : call.scalar(value, type);
  const above = low === -Infinity ? x : await call.emit('Maximum', [x, bound(low, 1)]);
  call.setOutput(high === Infinity ? above : await call.emit('Minimum', [above, bound(high, 2)]), perm);
};

/** `x · Φ(x)`, or its tanh approximation. */
export const gelu: Rule = call => {
  const activation = call.text('approximate', 'none') === 'tanh' ? 'gelu_new' : 'gelu';
  call.floats();
  call.setOutput(call.layer('Activation', {activation}, [call.key(0)]), call.perm());
};

/** `gelu(x + bias)` of com.microsoft. The bias is optional. */
export function biasGelu(activation: 'gelu' | 'gelu_new'): Rule {
  return async call => {
    const x = call.has(1) ? await call.emit('AddV2', [await call.input(0), await call.input(1)]) : call.key(0);
    call.floats();
    call.setOutput(call.layer('Activation', {activation}, [x]), call.has(1) ? undefined : call.perm());
  };
}

/** `x · sigmoid(alpha · x)` */
export function swish(alpha: number): Rule {
  return async call => {
    const x = call.key(0);
    const factor = call.float('alpha', alpha);
    const inner = factor === 1 ? x : await call.emit('Mul', [x, call.scalar(factor)]);
    call.setOutput(await call.emit('Mul', [x, await call.emit('Sigmoid', [inner])]), call.perm());
  };
}

export const hardSigmoid: Rule = async call => {
  const scaled = await call.emit('Mul', [call.key(0), call.scalar(call.float('alpha', 0.2))]);
  const shifted = await call.emit('AddV2', [scaled, call.scalar(call.float('beta', 0.5))]);
  call.setOutput(await call.emit('Minimum', [await call.emit('Relu', [shifted]), call.scalar(1)]), call.perm());
};

/** `x · tanh(softplus(x))` */
export const mish: Rule = async call => {
  const inner = await call.emit('Tanh', [await call.emit('Softplus', [call.key(0)])]);
  call.setOutput(await call.emit('Mul', [call.key(0), inner]), call.perm());
};

export const elu: Rule = async call => {
  const [x, alpha] = [call.key(0), call.float('alpha', 1)];
  const unscaled = await call.emit('Elu', [x]);
  if (alpha === 1) {
    call.setOutput(unscaled, call.perm());
    return;
  }
  const negativePart = await call.emit('Minimum', [unscaled, call.scalar(0)]);
  const scaled = await call.emit('Mul', [negativePart, call.scalar(alpha)]);
  call.setOutput(await call.emit('AddV2', [await call.emit('Relu', [x]), scaled]), call.perm());
};

/** Softmax over one axis, which is moved to the end. Before opset 13, it goes over all axes from `axis` on. */
export function softmax(op: 'Softmax' | 'LogSoftmax'): Rule {
  return async call => {
    let axis = call.axis(call.int('axis', call.version < 13 ? 1 : -1));
    if (call.version < 13) {
      const axesAbove1 = range(call.rank()).filter(at => at >= axis && call.size(0, at) !== 1);
      if (axesAbove1.length > 1) {
        call.refuse(`The node of version ${call.version} goes over several axes.`);
      }
      axis = axesAbove1[0] ?? axis;
    }
    const perm = call.perm();
    const lastAxisOrder = perm.at(-1) === axis ? perm : [...perm.filter(at => at !== axis), axis];
    call.setOutput(await call.emit(op, [await call.inputIn(0, lastAxisOrder)]), lastAxisOrder);
  };
}

/** `max(0, min(1, x / 6 + 1 / 2)) · x` */
export const hardSwish: Rule = async call =>
  call.setOutput(await call.emit('_FusedHardSwish', [call.key(0)]), call.perm());

export const leakyRelu: Rule = unary('LeakyRelu', call => ({alpha: attribute.number(call.float('alpha', 0.01))}));

export const celu: Rule = async call => {
  const [x, alpha] = [call.key(0), call.float('alpha', 1)];
  const inner = await call.emit('Elu', [await call.emit('RealDiv', [x, call.scalar(alpha)])]);
  const below = await call.emit('Mul', [await call.emit('Minimum', [inner, call.scalar(0)]), call.scalar(alpha)]);
  call.setOutput(await call.emit('AddV2', [await call.emit('Relu', [x]), below]), call.perm());
};
