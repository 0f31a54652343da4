import {nodeAndOutput} from '../../graph/graphDef';
import {binary} from './elementwise';
import type {Rule} from './activations';
import {range} from './lowering';
import {OnnxCall} from './onnxCall';

// Exporters of older opsets write some layers as operations. They are recognized at their last operation. Plans for the
// operations before it are dropped, because nothing needs them.

/** The node that returns a value, if it is one of these operations. */
function madeBy(call: OnnxCall, key: string, ...ops: readonly string[]): OnnxCall | undefined {
  const [name, output] = nodeAndOutput(key);
  const {planner, low} = call;
  const [node, proto] = [planner.graph.nodes.get(name), low.file.nodes.get(name)];
  const isOf = proto?.domain === '' && ops.includes(proto.op) && output === 0 && !planner.cut.inputs.includes(name);
  return node && isOf ? new OnnxCall(low, node) : undefined;
}

/** The number, if a value is a single one. */
function numberOf(call: OnnxCall, key: string): number | undefined {
  const numbers = call.planner.numbers(key);
  return numbers?.length === 1 ? numbers[0] : undefined;
}

/** Which input of an operation of two is a number, if one is, and the other input. */
function withNumber(call: OnnxCall | undefined): {number: number; other: string} | undefined {
  const numbers = [0, 1].map(i => call && numberOf(call, call.key(i)));
  const at = numbers.findIndex(number => number !== undefined);
  return call && at >= 0 ? {number: numbers[at] ?? 0, other: call.key(1 - at)} : undefined;
}

/** A value as a product: a number, and the other factors. */
function factorsOf(call: OnnxCall, key: string, depth = 0): {number: number; others: string[]} {
  const number = numberOf(call, key);
  const made = depth < 4 ? madeBy(call, key, 'Mul', 'Div') : undefined;
  const divisor = made?.op === 'Div' ? numberOf(call, made.key(1)) : undefined;
  if (number !== undefined) {
    return {number, others: []};
  }
  if (made === undefined || (made.op === 'Div' && divisor === undefined)) {
    return {number: 1, others: [key]};
  }
  const [one, other] = [0, 1].map(i => factorsOf(call, made.key(i), depth + 1));
  return divisor === undefined
    ? {number: (one?.number ?? 1) * (other?.number ?? 1), others: [...(one?.others ?? []), ...(other?.others ?? [])]}
    : {number: (one?.number ?? 1) / divisor, others: one?.others ?? []};
}

function isNear(number: number, expected: number): boolean {
  return Math.abs(number - expected) <= 1e-6;
}

/** The `x` of `x · (1 + erf(x / √2)) / 2`. */
function geluOf(call: OnnxCall): string | undefined {
  const [one, other] = [0, 1].map(i => factorsOf(call, call.key(i), 1));
  const others = [...(one?.others ?? []), ...(other?.others ?? [])];
  for (const [i, key] of others.entries()) {
    const sum = withNumber(madeBy(call, key, 'Add'));
    const erf = sum?.number === 1 ? madeBy(call, sum.other, 'Erf') : undefined;
    const inner = erf && factorsOf(call, erf.key(0));
    const x = others[1 - i];
    if (inner?.others.join() === x && isNear(inner?.number ?? 0, Math.SQRT1_2)) {
      return others.length === 2 && isNear((one?.number ?? 1) * (other?.number ?? 1), 0.5) ? x : undefined;
    }
  }
  return undefined;
}

/** A product, or the whole of a GELU. */
export const mul: Rule = async call => {
  const x = geluOf(call);
  const flow = x === undefined ? undefined : call.planner.floats(x);
  if (x === undefined || flow === undefined) {
    await binary('Mul')(call);
    return;
  }
  call.give(
    call.layer('Activation', {activation: 'gelu'}, [x]),
    call.low.permOf(call.planner.valueOf(x), flow.sizes.length),
  );
};

/** Whether a mean is that over the last axis, which is kept. */
function isMeanOfLast(call: OnnxCall): boolean {
  const axes = call.version < 18 ? call.ints('axes') : call.numbers(1);
  return axes?.length === 1 && (axes[0] === -1 || axes[0] === call.rank() - 1) && call.int('keepdims', 1) === 1;
}

/** The `x` and the number that is added to the variance of `(x - mean) / √(variance + epsilon)` over the last axis. */
function normalizedOf(call: OnnxCall, key: string): {x: string; epsilon: number} | undefined {
  const quotient = madeBy(call, key, 'Div');
  const centered = quotient?.key(0) ?? '';
  const root = quotient && madeBy(call, quotient.key(1), 'Sqrt');
  const sum = root && withNumber(madeBy(call, root.key(0), 'Add'));
  const variance = sum && madeBy(call, sum.other, 'ReduceMean');
  const square = variance && isMeanOfLast(variance) ? madeBy(call, variance.key(0), 'Pow', 'Mul') : undefined;
  const isSquare = square?.op === 'Pow' ? numberOf(call, square.key(1)) === 2 : square?.key(1) === centered;
  const difference = square?.key(0) === centered && isSquare ? madeBy(call, centered, 'Sub') : undefined;
  const mean = difference && madeBy(call, difference.key(1), 'ReduceMean');
  const x = difference?.key(0);
  return x !== undefined && sum && mean && isMeanOfLast(mean) && mean.key(0) === x
    ? {x, epsilon: sum.number}
    : undefined;
}

/** A sum, or the whole of a LayerNormalization: a constant that is added to a product with another one. */
export const add: Rule = async call => {
  for (const i of [0, 1]) {
    const product = madeBy(call, call.key(1 - i), 'Mul');
    for (const j of [0, 1]) {
      const normal = product && normalizedOf(call, product.key(1 - j));
      const flow = normal && call.planner.floats(normal.x);
      const isOfRow = (at: OnnxCall, index: number) =>
        at.rank(index) === 1 && at.size(index, 0) === flow?.shapes[0].at(-1);
      if (product && normal && flow && isOfRow(product, j) && isOfRow(call, i)) {
        const [gamma, beta] = [call.low.weight(product.node.name, j), call.low.weight(call.node.name, i)];
        if (gamma !== undefined && beta !== undefined) {
          const x = await call.held(normal.x, range(flow.sizes.length));
          call.give(call.layer('LayerNormalization', {axis: -1, epsilon: normal.epsilon}, [x], {gamma, beta}));
          return;
        }
      }
    }
  }
  await binary('AddV2')(call);
};
