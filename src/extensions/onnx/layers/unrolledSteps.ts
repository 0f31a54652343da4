import type * as tf from '@tensorflow/tfjs';
import type {Cell} from '../../../platform/tfjs/layerFields';
import {range} from '../lower/lowering';
import {type GraphWriter, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';
import {activated} from './activations';
import type {Call} from './call';

/** A pass over the steps of a sequence, in one direction. */
export interface UnrolledPass {
  /** `[steps, batch, inputs]`. */
  x: string;
  isReverse: boolean;
  /** The first states, `[batch, units]`; none are zeros. */
  initial: readonly string[];
}

/** What a cell makes of `x·W + b` of a step, `[batch, gates · units]`, and of the states before it. */
type Step = (product: string, states: readonly string[]) => string[];

/**
 * Writes a cell once for each step, for a format without recurrent operations. The steps must be a fixed number.
 *
 * @returns the results of the steps in the order of time, `[batch, units]` each, and the last states.
 */
export function unrolledSteps(
  out: GraphWriter,
  call: Call,
  cell: tf.layers.Layer,
  {x, isReverse, initial}: UnrolledPass,
): {steps: string[]; last: string[]} {
  const {kernel, recurrentKernel, bias} = call.fields<Cell>(cell);
  const units = recurrentKernel.shape[0] as number;
  const count = call.input.shape[1] ?? undefined;
  if (count === undefined) {
    out.refuse('The number of its steps is open, and GraphModels compute each step with nodes of its own.');
    return {steps: [x], last: [x, x]};
  }
  const resetsAfter = cell.getClassName() === 'tfjs-lora>GRUCell';
  const products = out.node('MatMul', [x, out.weight('kernel', kernel)]);
  const biases = bias && out.weight('bias', bias);
  const [ofInput, ofState] = biases && resetsAfter ? partsAlong(out, biases, 0, 2) : [biases, null];
  const shifted = ofInput === null ? products : out.node('Add', [products, ofInput]);
  const step = writtenCell(out, call, cell, {units, stateBias: ofState ?? undefined});
  const stateCount = cell.getClassName() === 'LSTMCell' ? 2 : 1;
  let states: string[] = initial.length > 0 ? [...initial] : range(stateCount).map(() => zeroState(out, x, units));
  const inTime = partsAlong(out, shifted, 0, count).map(product => out.squeeze(product, [0]));
  const steps = (isReverse ? inTime.reverse() : inTime).map(product => {
    states = step(product, states);
    return states[0] as string;
  });
  return {steps: isReverse ? steps.reverse() : steps, last: states};
}

/** Zeros, `[batch, units]`. */
function zeroState(out: GraphWriter, x: string, units: number): string {
  return out.once(`zeros ${x} ${units}`, () =>
    out.node('Expand', [out.float(0), out.node('Concat', [out.sizeOf(x, 1), out.ints([units])], {axis: 0})]),
  );
}

/** Equal parts along an axis. */
function partsAlong(out: GraphWriter, x: string, axis: number, count: number): string[] {
  return count === 1 ? [x] : out.nodeOf('Split', [x], {axis}, count);
}

function writtenCell(
  out: GraphWriter,
  call: Call,
  cell: tf.layers.Layer,
  {units, stateBias}: {units: number; stateBias: string | undefined},
): Step {
  const {recurrentKernel, activation, recurrentActivation} = call.fields<Cell>(cell);
  const r = out.weight('recurrent_kernel', recurrentKernel);
  const calculate = (op: 'Add' | 'Sub' | 'Mul' | 'MatMul', one: string, other: string) => out.node(op, [one, other]);
  const activate = (name: string, by: typeof activation | undefined) =>
    activated(out, new Tensor([null, units], TYPE.float, name), by).name;
  const asGate = (...terms: [string, string]) => activate(calculate('Add', ...terms), recurrentActivation);
  const asState = (name: string) => activate(name, activation);
  const splitGates = (name: string, count: number) =>
    partsAlong(out, name, 1, count) as [string, string, string, string];
  const interpolate = (z: string, h: string, candidate: string) =>
    calculate('Add', calculate('Mul', z, h), calculate('Mul', calculate('Sub', out.float(1), z), candidate));
  switch (cell.getClassName()) {
    case 'LSTMCell':
      return (product, [h = '', c = '']) => {
        const gates = splitGates(calculate('Add', product, calculate('MatMul', h, r)), 4);
        const [i, forget, , o] = gates.map(gate => activate(gate, recurrentActivation)) as typeof gates;
        const carry = calculate('Add', calculate('Mul', forget, c), calculate('Mul', i, asState(gates[2])));
        return [calculate('Mul', o, asState(carry)), carry];
      };
    case 'GRUCell': {
      const [ofGates, ofCandidate] = [out.slice(r, 1, 0, 2 * units), out.slice(r, 1, 2 * units, 3 * units)];
      return (product, [h = '']) => {
        const [xz, xr, xc] = splitGates(product, 3);
        const [hz, hr] = splitGates(calculate('MatMul', h, ofGates), 2);
        const hc = calculate('MatMul', calculate('Mul', asGate(xr, hr), h), ofCandidate);
        return [interpolate(asGate(xz, hz), h, asState(calculate('Add', xc, hc)))];
      };
    }
    case 'tfjs-lora>GRUCell':
      return (product, [h = '']) => {
        const ofState = calculate('MatMul', h, r);
        const [xz, xr, xc] = splitGates(product, 3);
        const [hz, hr, hc] = splitGates(stateBias === undefined ? ofState : calculate('Add', ofState, stateBias), 3);
        const candidate = asState(calculate('Add', xc, calculate('Mul', asGate(xr, hr), hc)));
        return [interpolate(asGate(xz, hz), h, candidate)];
      };
    case 'SimpleRNNCell':
      return (product, [h = '']) => [asState(calculate('Add', product, calculate('MatMul', h, r)))];
    default:
      out.refuse(`The class ${cell.getClassName()} cannot be written.`);
      return (product, states) => [product, ...states];
  }
}
