import {nodeAndOutput} from '../../graph/graphDef';
import {binary} from './elementwise';
import type {Rule} from './activations';
import {range} from './lowering';
import {OnnxCall} from './onnxCall';

// Exporters of older opsets write GELU and LayerNormalization as sequences of operations. These rules recognize the
// last operation of such a sequence. The plan drops the operations before it, because nothing uses them.

/** The node that computes a value, if it is one of these operations. */
function producerOf(call: OnnxCall, key: string, ...ops: readonly string[]): OnnxCall | undefined {
  const [name, output] = nodeAndOutput(key);
  const {planner, lowering: low} = call;
  const [node, proto] = [planner.graph.nodes.get(name), low.file.nodes.get(name)];
  const isOf = proto?.domain === '' && ops.includes(proto.op) && output === 0 && !planner.cut.inputs.includes(name);
  return node && isOf ? new OnnxCall(low, node) : undefined;
}

/** The value of a constant scalar. */
function scalarOf(call: OnnxCall, key: string): number | undefined {
  const numbers = call.planner.numbers(key);
  return numbers?.length === 1 ? numbers[0] : undefined;
}

/** The constant scalar among the two inputs of an operation, and the other input. */
function scalarOperand(call: OnnxCall | undefined): {number: number; other: string} | undefined {
  const numbers = [0, 1].map(i => call && scalarOf(call, call.key(i)));
  const at = numbers.findIndex(number => number !== undefined);
  return call && at >= 0 ? {number: numbers[at] ?? 0, other: call.key(1 - at)} : undefined;
}

/** A value as a product of a constant scalar and other factors. */
function splitFactors(call: OnnxCall, key: string, depth = 0): {number: number; factors: string[]} {
  const number = scalarOf(call, key);
  const made = depth < 4 ? producerOf(call, key, 'Mul', 'Div') : undefined;
  const divisor = made?.op === 'Div' ? scalarOf(call, made.key(1)) : undefined;
  if (number !== undefined) {
    return {number, factors: []};
  }
  if (made === undefined || (made.op === 'Div' && divisor === undefined)) {
    return {number: 1, factors: [key]};
  }
  const [one, other] = [0, 1].map(i => splitFactors(call, made.key(i), depth + 1));
  return divisor === undefined
    ? {number: (one?.number ?? 1) * (other?.number ?? 1), factors: [...(one?.factors ?? []), ...(other?.factors ?? [])]}
    : {number: (one?.number ?? 1) / divisor, factors: one?.factors ?? []};
}

function isNear(number: number, expected: number): boolean {
  return Math.abs(number - expected) <= 1e-6;
}

/** The `x` of `x · (1 + erf(x / √2)) / 2`. */
function geluOf(call: OnnxCall): string | undefined {
  const [one, other] = [0, 1].map(i => splitFactors(call, call.key(i), 1));
  const factors = [...(one?.factors ?? []), ...(other?.factors ?? [])];
  for (const [i, key] of factors.entries()) {
    const sum = scalarOperand(producerOf(call, key, 'Add'));
    const erf = sum?.number === 1 ? producerOf(call, sum.other, 'Erf') : undefined;
    const inner = erf && splitFactors(call, erf.key(0));
    const x = factors[1 - i];
    if (inner?.factors.join() === x && isNear(inner?.number ?? 0, Math.SQRT1_2)) {
      return factors.length === 2 && isNear((one?.number ?? 1) * (other?.number ?? 1), 0.5) ? x : undefined;
    }
  }
  return undefined;
}

/** A product, or the last operation of a GELU. */
export const mul: Rule = async call => {
  const x = geluOf(call);
  const flow = x === undefined ? undefined : call.planner.floats(x);
  if (x === undefined || flow === undefined) {
    await binary('Mul')(call);
    return;
  }
  call.setOutput(
    call.layer('Activation', {activation: 'gelu'}, [x]),
    call.lowering.permOf(call.planner.valueOf(x), flow.sizes.length),
  );
};

/** Whether a ReduceMean goes over the last axis and keeps it. */
function isMeanOfLast(call: OnnxCall): boolean {
  const axes = call.version < 18 ? call.ints('axes') : call.numbers(1);
  return axes?.length === 1 && (axes[0] === -1 || axes[0] === call.rank() - 1) && call.int('keepdims', 1) === 1;
}

/** `x` and `epsilon` of `(x - mean) / √(variance + epsilon)` over the last axis. */
function normalizedOf(call: OnnxCall, key: string): {x: string; epsilon: number} | undefined {
  const quotient = producerOf(call, key, 'Div');
  const centered = quotient?.key(0) ?? '';
  const root = quotient && producerOf(call, quotient.key(1), 'Sqrt');
  const sum = root && scalarOperand(producerOf(call, root.key(0), 'Add'));
  const variance = sum && producerOf(call, sum.other, 'ReduceMean');
  const square = variance && isMeanOfLast(variance) ? producerOf(call, variance.key(0), 'Pow', 'Mul') : undefined;
  const isSquare = square?.op === 'Pow' ? scalarOf(call, square.key(1)) === 2 : square?.key(1) === centered;
  const difference = square?.key(0) === centered && isSquare ? producerOf(call, centered, 'Sub') : undefined;
  const mean = difference && producerOf(call, difference.key(1), 'ReduceMean');
  const x = difference?.key(0);
  return x !== undefined && sum && mean && isMeanOfLast(mean) && mean.key(0) === x
    ? {x, epsilon: sum.number}
    : undefined;
}

/** A sum, or the last operation of a LayerNormalization: `normalized · gamma + beta` with constants. */
export const add: Rule = async call => {
  for (const i of [0, 1]) {
    const product = producerOf(call, call.key(1 - i), 'Mul');
    for (const j of [0, 1]) {
      const normal = product && normalizedOf(call, product.key(1 - j));
      const flow = normal && call.planner.floats(normal.x);
      const isOfRow = (at: OnnxCall, index: number) =>
        at.rank(index) === 1 && at.size(index, 0) === flow?.shapes[0].at(-1);
      if (product && normal && flow && isOfRow(product, j) && isOfRow(call, i)) {
        const [gamma, beta] = [call.lowering.weight(product.node.name, j), call.lowering.weight(call.node.name, i)];
        if (gamma !== undefined && beta !== undefined) {
          const x = await call.permuted(normal.x, range(flow.sizes.length));
          call.setOutput(call.layer('LayerNormalization', {axis: -1, epsilon: normal.epsilon}, [x], {gamma, beta}));
          return;
        }
      }
    }
  }
  await binary('AddV2')(call);
};
